"""What serve.py does without a socket: the model is opened, and the application answers one request of each kind."""

import asyncio
from typing import Any

import httpx
from omegaconf import DictConfig

from kindling.config.check.command_line import refuse
from kindling.config.composition import to_plain
from kindling.config.rules.run_rules import one_model_is_named
from kindling.inference.serving.app import make_app
from kindling.inference.serving.batching import Batcher
from kindling.inference.serving.gate import Gate
from kindling.inference.serving.limits import Limits
from kindling.inference.serving.logs import RequestLog
from kindling.inference.serving.metrics import Metrics
from kindling.inference.serving.served import Models
from kindling.inference.serving.texts import Writer
from kindling.inference.serving.visitors import Hosts
from kindling.serve import LIMITS, _source
from serving import files, png

# A client's fault, such as a name that is none of the columns, is no fault of the server.
ASKED = (
    *(("GET", path, {}) for path in ("/", "/health", "/model", "/metrics", "/openapi.json")),
    ("POST", "/predict", {"files": files(png())}),
    ("POST", "/predict", {"json": {"rows": [{"age": 3, "bmi": 20, "smoker": "no"}]}}),
    ("POST", "/predict", {"json": {"prompt": "ab", "length": 3}}),
)


def serve(cfg: DictConfig) -> None:
    """
    Raises:
        KindlingError: there is no model, or it is refused.
        AssertionError: an answer is an error of the server.
    """
    refuse([*one_model_is_named(to_plain(cfg))])
    source = _source(cfg)
    source.refuse_missing()
    models = Models(source, 1, cfg.max_batch, cfg.timeout_s, watches=False, report=lambda what: None)
    models._load()
    asyncio.run(answered(models, Limits(**{name: cfg[name] for name in LIMITS})))


async def answered(models: Models, limits: Limits) -> None:
    metrics: Any = Metrics(waiting=lambda: 0)
    batcher, writer = Batcher(limits, metrics.batch), Writer(limits, metrics.text_pieces)
    app = Gate(make_app(models, batcher, writer, metrics, limits, None), None, metrics, RequestLog(), Hosts(None), [])
    for worker in (batcher, writer):
        worker.start()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", trust_env=False) as client:
        for method, path, what in ASKED:
            answer = await client.request(method, path, **what)
            assert answer.status_code < 500, f"{path}: {answer.status_code} {answer.text[:200]}"
