"""The two pages: one to try the model on, one that describes the routes. Neither loads a file from elsewhere."""

import base64
import hashlib
import html
import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Response

from kindling.inference.serving.described import Example

PAGE = Path(__file__).with_name("page.html")
# What it does for inputs of each kind.
KINDS = ("page_images.js", "page_rows.js", "page_text.js")
# Beside that of the page.
STYLE = (
    "h2{font-size:1.05rem}main{max-width:46rem}section{margin-top:1rem}code,pre{font-family:ui-monospace,monospace;"
    "overflow-wrap:anywhere}pre+h2{margin-top:1rem}pre{white-space:pre-wrap;margin:0;padding:.75rem;border-radius:10px;background:var(--ground)}"
    "td,th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0}p{margin:.5rem 0}"
)
JSON = "-H 'Content-Type: application/json' -d"
# A Host that needs no quotes in a shell.
PLAIN_HOST = re.compile(r"[\w.:\[\]-]+", re.ASCII)


@cache
def try_out() -> Response:
    programs = "\n".join(PAGE.with_name(name).read_text(encoding="utf-8") for name in KINDS)
    return _page(PAGE.read_text(encoding="utf-8").replace("/* kinds */", programs))


def docs(openapi: dict[str, Any], address: str, example: Example) -> Response:
    """The routes of openapi.json, as plain HTML: FastAPI's own page would load its program from elsewhere.

    Args:
        openapi: what openapi.json says.
        address: of the server, as it was asked.
        example: a request and its answer.
    """
    parts = [f"<header><h1>{html.escape(openapi['info']['title'])}: the routes</h1>"]
    parts.append('<p id=about><a href="./">try the model</a> · <a href="openapi.json">openapi.json</a></p></header>')
    parts.append(f"<section><h2>From a shell</h2>{_code(_commands(address, example))}")
    parts.append(f"<h2>An answer</h2>{_code(example.answer)}</section>")
    for path, methods in openapi["paths"].items():
        for method, about in methods.items():
            name = f"<code>{method.upper()} {html.escape(path)}</code>"
            parts.append(f"<section><h2>{name}</h2><p>{html.escape(about['summary'])}")
            body = about.get("requestBody", {})
            parts.extend(f"<br>takes <code>{html.escape(kind)}</code>" for kind in body.get("content", {}))
            parts.append(f"<p>{html.escape(body.get('description', ''))}" if body else "")
            rows = about["responses"].items()
            cells = "".join(f"<tr><th>{code}<td>{html.escape(each['description'])}" for code, each in rows)
            parts.append(f"<table>{cells}</table></section>")
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>API</title><style>{_style()}{STYLE}</style>"
    return _page(f'{head}<meta name=viewport content="width=device-width"><main>{"".join(parts)}</main>')


def address_of(scheme: str, host: str | None) -> str:
    """As a client has asked it, so that the commands can be copied."""
    return f"{scheme}://{host if host and PLAIN_HOST.fullmatch(host) else 'HOST'}"


def _commands(address: str, example: Example) -> str:
    asked, shown = f"{address}/predict", json.dumps(example.request, ensure_ascii=False)
    by_json = f"curl {'-N ' if example.is_streamed else ''}{JSON} {shlex.quote(shown)} {asked}"
    files = [f"curl -F image=@digit.png {asked}", f"curl -F image=@a.png -F image=@b.png {asked}"]
    return "\n".join([*(files if example.takes_files else ()), by_json, f"curl -H 'X-API-Key: ...' {address}/model"])


def _code(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


@cache
def _style() -> str:
    return PAGE.read_text(encoding="utf-8").partition("<style>")[2].partition("</style>")[0]


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
