"""The routes: what can be asked, and how the answers look. FastAPI writes openapi.json from them."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from kindling.data.processor import Processor
from kindling.images.processor import classifies
from kindling.inference.serving import described, pages
from kindling.inference.serving.batching import Batcher, Job
from kindling.inference.serving.body import Bodies, refuse_encoded
from kindling.inference.serving.gate import PATHS, error_response, methods_of
from kindling.inference.serving.limits import Limits, Refused, busy
from kindling.inference.serving.metrics import CONTENT_TYPE, Metrics
from kindling.inference.serving.model import Served
from kindling.inference.serving.pixels import pictures_of
from kindling.inference.serving.rows import in_json, only_picture, written
from kindling.inference.serving.served import Models
from kindling.inference.serving.streams import stream
from kindling.inference.serving.texts import Writer

# The version of the answers, on which a client may rely.
VERSION = 1


def make_app(
    models: Models, batcher: Batcher, writer: Writer, metrics: Metrics, limits: Limits, top_k: int | None
) -> FastAPI:
    """The application, without the gate that each request passes before."""
    off = dict.fromkeys(("docs_url", "redoc_url", "openapi_url"))
    app = FastAPI(title=described.TITLE, version=str(VERSION), redirect_slashes=False, **off)
    for kind, answer in ((Refused, _refused), (HTTPException, _no_such_route), (Exception, _failed)):
        app.add_exception_handler(kind, answer)
    app.post("/predict", summary=described.PREDICT)(_predicting(models, batcher, writer, limits, top_k))
    _add_pages(app, models, limits)

    @app.get("/health", summary="Whether the model is loaded and warm", responses=described.HEALTH)
    async def health() -> Response:
        _loaded(models)
        return _json({"status": "ok"})

    @app.get("/model", summary="The model that answers, and the limits of a request", responses=described.MODEL)
    async def model(request: Request) -> Response:
        return _json(_about(_loaded(models), limits))

    @app.get("/examples", summary="Images to try the model on", responses=described.EXAMPLES)
    async def examples() -> Response:
        return _json({"images": await asyncio.to_thread(_examples, models)})

    @app.get("/metrics", summary="Counters for Prometheus", responses=described.METRICS)
    async def counters() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return app


def _predicting(
    models: Models, batcher: Batcher, writer: Writer, limits: Limits, top_k: int | None
) -> Callable[[Request], Awaitable[Response]]:
    bodies = Bodies(limits)

    async def predict(request: Request) -> Response:
        model = _loaded(models)
        refuse_encoded(request.headers.get("content-encoding", ""))
        with bodies.holding() as held:
            body = await held.read(request.receive, request.headers.get("content-length"))
            if model.kind == "text":
                return await stream(request, model, body, writer, limits)
            job = batcher.submit(model, request.headers.get("content-type", ""), body)
            del body
            outputs = await _outputs(job, limits)
        request.state.logged.update({described.NOUNS[model.kind]: len(outputs), "model": model.id})
        if classifies(model.processor):
            classes = model.processor.classes
            predictions = [_prediction(row, classes, top_k) for row in outputs.tolist()]
            if request.query_params.get("seen") == "true" and job.inputs is not None:
                pictures = await asyncio.to_thread(pictures_of, job.inputs)
                predictions = [each | {"seen": seen} for each, seen in zip(predictions, pictures, strict=True)]
        else:
            # Many rows would hold up the other requests.
            predictions = await asyncio.to_thread(written, outputs, model.processor)
            if "image/png" in request.headers.get("accept", "") and (picture := only_picture(predictions)):
                return Response(picture, media_type="image/png")
            predictions = in_json(predictions)
        return _json(_answer(request, model, predictions))

    return predict


async def _outputs(job: Job, limits: Limits) -> np.ndarray:
    """
    Raises:
        Refused: 504 they take too long; or what there is to say of the inputs.
    """
    try:
        async with asyncio.timeout(limits.timeout_s):
            return await job.answer
    except TimeoutError:
        less = f"no answer within {limits.timeout_s:g} s; send fewer {described.NOUNS[job.model.kind]}"
        raise Refused(504, "too_slow", less) from None
    finally:
        # Whatever still waits for a decoder.
        job.given_up, job.body = True, b""


def _add_pages(app: FastAPI, models: Models, limits: Limits) -> None:
    def processor(request: Request) -> Processor | None:
        """Of the model that answers, for those who may ask it."""
        current = models.current if request.state.has_key else None
        return current and current.processor

    def openapi(request: Request) -> dict[str, Any]:
        return described.openapi(app.openapi(), processor(request), limits)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return pages.try_out()

    @app.get("/openapi.json", include_in_schema=False)
    async def schema(request: Request) -> Response:
        return _json(openapi(request))

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        address = pages.address_of(request.url.scheme, request.headers.get("host"))
        return pages.docs(openapi(request), address, described.example(processor(request)))


def _examples(models: Models) -> list[str]:
    """In base64; none if the files are gone or somebody else's."""
    try:
        return [base64.b64encode(each).decode() for each in models.source.examples()]
    except (OSError, ValueError):
        return []


def _loaded(models: Models) -> Served:
    if models.current is None:
        raise busy("loading", "the model is not loaded yet")
    return models.current


def _json(content: dict[str, Any]) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode(errors="backslashreplace"), media_type="application/json")


def _answer(request: Request, model: Served, predictions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": VERSION,
        "model": model.id,
        "request_id": request.state.request_id,
        "predictions": predictions,
        "latency_ms": round((time.perf_counter() - request.state.started) * 1000, 3),
    }


def _prediction(row: list[float], classes: Sequence[str], top_k: int | None) -> dict[str, Any]:
    """One image's, from the probabilities (K,) of the classes."""
    order = sorted(range(len(row)), key=row.__getitem__, reverse=True)
    shown = {classes[label]: row[label] for label in order[:top_k]}
    return {"class": classes[order[0]], "probability": row[order[0]], "probabilities": shown}


def _about(model: Served, limits: Limits) -> dict[str, Any]:
    about = {"version": VERSION, "model": model.id, "name": model.name, "metrics": dict(model.metrics)}
    about |= {"format": model.format, "kind": model.kind}
    bounds = {name: getattr(limits, name) for name in described.LIMITS[model.kind]}
    if classifies(model.processor):
        names = ("classes", "image_size", "channels")
        return about | {name: getattr(model.processor, name) for name in names} | {"limits": bounds}
    settings = described.settings_within(model.processor, limits)
    columns = {"inputs": model.processor.inputs, "outputs": model.processor.outputs, "settings": settings}
    told = {name: [column.as_dict() for column in given] for name, given in columns.items()}
    return about | told | {"limits": bounds}


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error_response(error, request.state.request_id)


def _no_such_route(request: Request, error: Exception) -> Response:
    """Starlette's 404 and 405, in the form of the other errors."""
    assert isinstance(error, HTTPException)
    methods = methods_of(request.url.path)
    headers = {"allow": methods} if error.status_code == 405 else {}
    code, message = {
        404: ("not_found", f"given a path that is not there; allowed: {', '.join(sorted(PATHS))}"),
        405: ("method_not_allowed", f"given another method; allowed: {methods}"),
    }.get(error.status_code, ("bad_request", "given a request that is wrong"))
    return error_response(Refused(error.status_code, code, message, headers), request.state.request_id)


def _failed(request: Request, error: Exception) -> Response:
    """A mistake of ours, of which the client learns no more; the gate logs it."""
    return error_response(Refused(500, "internal_error", "something failed here"), request.state.request_id)
