"""A text as the event stream that a client reads: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

import asyncio
import json
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from fastapi.responses import StreamingResponse

from kindling.inference.serving.gate import error_body
from kindling.inference.serving.limits import Limits, Refused
from kindling.inference.serving.model import Served
from kindling.inference.serving.texts import Text, Writer, no_answer, read_prompt


async def stream(request: Request, model: Served, body: bytes, writer: Writer, limits: Limits) -> StreamingResponse:
    """The answer to a prompt, which begins once its first piece is drawn: until then it may be an error.

    Raises:
        Refused: as `read_prompt`; 422 the model cannot go on, 503 the queue is full, 504 it takes too long.
    """
    writer.refuse_full()
    pieces = await asyncio.to_thread(read_prompt, request.headers.get("content-type", ""), body, model, limits)
    text = writer.submit(pieces)
    try:
        parts = text.parts()
        async with asyncio.timeout(limits.timeout_s):
            first = await anext(parts, "")
    except BaseException as error:
        text.given_up = True
        if isinstance(error, TimeoutError):
            raise Refused(504, "too_slow", f"no answer within {limits.timeout_s:g} s; ask again later") from None
        raise (isinstance(error, Exception) and no_answer(error)) or error from None
    events = _events(request, model, text, first, parts)
    return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _events(
    request: Request, model: Served, text: Text, first: str, parts: AsyncIterator[str]
) -> AsyncIterator[bytes]:
    logged, request_id = request.state.logged, request.state.request_id
    try:
        yield _event({"text": first})
        async for part in parts:
            yield _event({"text": part})
        took = round((time.perf_counter() - request.state.started) * 1000, 3)
        told = {"version": 1, "model": model.id, "request_id": request_id, "pieces": text.num_pieces}
        yield _event(told | {"latency_ms": took}, "end")
    except Exception as error:
        # The status is sent already.
        refused = no_answer(error) or Refused(500, "internal_error", "something failed here")
        logged |= {"error": refused.code}
        logged |= {} if no_answer(error) else {"trace": traceback.format_exc()}
        yield _event(json.loads(error_body(refused.code, refused.message, request_id)), "error")
    finally:
        # Also of a client that has gone.
        text.given_up = True
        logged.update(pieces=text.num_pieces, model=model.id)


def _event(content: dict[str, Any], name: str = "") -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    kind = f"event: {name}\n" if name else ""
    return f"{kind}data: {text}\n\n".encode(errors="backslashreplace")
