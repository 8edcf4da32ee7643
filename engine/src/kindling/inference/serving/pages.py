"""The two pages: one to try the model on, one that describes the routes. Neither loads a file from elsewhere."""

import base64
import hashlib
import html
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Response

PAGE = Path(__file__).with_name("page.html")
# What it does for inputs of each kind.
KINDS = ("page_images.js", "page_rows.js", "page_text.js")
STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;"
    "padding:0 1rem}code,pre{font-family:ui-monospace,monospace;overflow-wrap:anywhere}pre{white-space:pre-wrap;"
    "border:1px solid #8886;border-radius:8px;padding:.75rem}td,th{text-align:left;padding:.1rem 1rem .1rem 0}"
)
JSON = "-H 'Content-Type: application/json' -d"
EXAMPLES = {
    "images": f"""curl -F image=@digit.png http://HOST/predict
curl -F image=@a.png -F image=@b.png http://HOST/predict
curl {JSON} '{{"images": ["<base64>"]}}' http://HOST/predict""",
    "rows": f'curl {JSON} \'{{"rows": [{{"<column>": 1}}]}}\' http://HOST/predict',
    "prompt": f'curl -N {JSON} \'{{"prompt": "..."}}\' http://HOST/predict',
}
MODEL = "curl -H 'X-API-Key: ...' http://HOST/model"


@cache
def try_out() -> Response:
    programs = "\n".join(PAGE.with_name(name).read_text(encoding="utf-8") for name in KINDS)
    return _page(PAGE.read_text(encoding="utf-8").replace("/* kinds */", programs))


def docs(openapi: dict[str, Any]) -> Response:
    """The routes of openapi.json, as plain HTML: FastAPI's own page would load its program from elsewhere."""
    parts = [f"<h1>{html.escape(openapi['info']['title'])}</h1>"]
    for path, methods in openapi["paths"].items():
        for method, about in methods.items():
            parts.append(
                f"<h2><code>{method.upper()} {html.escape(path)}</code></h2><p>{html.escape(about['summary'])}"
            )
            kinds = about.get("requestBody", {}).get("content", {})
            parts.extend(f"<br>takes <code>{html.escape(kind)}</code>" for kind in kinds)
            rows = about["responses"].items()
            cells = "".join(f"<tr><th>{code}<td>{html.escape(each['description'])}" for code, each in rows)
            parts.append(f"<table>{cells}</table>")
    taken = json.dumps(openapi["paths"]["/predict"]["post"]["requestBody"])
    shown = [example for word, example in EXAMPLES.items() if f'"{word}"' in taken]
    examples = "\n".join([*shown, MODEL])
    parts.append(f"<h2>From a shell</h2><pre>{html.escape(examples)}</pre>")
    parts.append('<p><a href="openapi.json">openapi.json</a> · <a href="./">try it</a>')
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>API</title><style>{STYLE}</style>"
    return _page(f'{head}<meta name=viewport content="width=device-width">{"".join(parts)}')


def _page(text: str) -> Response:
    """HTML whose own style and program may run, and nothing else."""
    allowed = {kind: " ".join(_hashes(kind, text)) or "'none'" for kind in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {allowed['script']}; style-src {allowed['style']}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(text, media_type="text/html", headers={"content-security-policy": policy})


def _hashes(kind: str, text: str) -> list[str]:
    blocks = re.findall(rf"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(block.encode()).digest()).decode() for block in blocks]
    return [f"'sha256-{digest}'" for digest in digests]
