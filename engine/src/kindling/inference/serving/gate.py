"""What each request passes: an id, the key, errors as JSON, headers, a line in the log and in the metrics."""

import hmac
import json
import re
import secrets
import time
import traceback
from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kindling.inference.serving.limits import Gone, Refused
from kindling.inference.serving.logs import RequestLog
from kindling.inference.serving.metrics import Metrics
from kindling.inference.serving.visitors import MAY_ASK, Hosts, headers_for

# They need no key, and say nothing of the model without it.
OPEN = ("/", "/health", "/docs", "/openapi.json")
# Others are counted together: anybody may invent them.
PATHS = frozenset((*OPEN, "/predict", "/model", "/examples", "/metrics"))
# A page of another origin asks first whether it may.
POST_ALONE = ("/predict",)
VALID_ID = re.compile(r"[\w.:-]{1,64}", re.ASCII)
LONGEST_HOST = 100
# Nginx's number for a client that did not wait, in log and metrics alone.
CLIENT_CLOSED = 499
ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """An ASGI application around another.

    Args:
        app: that answers.
        key: without which only OPEN answers; None for none.
        metrics: of the server.
        log: likewise.
        hosts: that it is asked by.
        origins: of pages that may ask it, beside its own.
    """

    def __init__(
        self,
        app: ASGIApp,
        key: str | None,
        metrics: Metrics,
        log: RequestLog,
        hosts: Hosts | None = None,
        origins: Collection[str] = (),
    ):
        self.app = app
        self.key = key.encode() if key else None
        self.metrics = metrics
        self.log = log
        self.hosts = hosts or Hosts()
        self.origins = frozenset(origins)
        # Each answer says that its connection takes no further request.
        self.is_closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _id(headers.get("x-request-id"))
        has_key = self._has_key(headers)
        scope["state"] = {"request_id": request_id, "started": started, "logged": {}, "has_key": has_key}
        may_read = headers_for(headers.get("origin"), self.origins)
        more = [(b"x-request-id", request_id.encode()), *ALWAYS, *may_read]
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *more]
                if self.is_closing:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            if not self.hosts.answer(headers.get("host")):
                raise _another_host(headers["host"])
            if scope["method"] == "OPTIONS" and scope["path"] in PATHS:
                await _options(scope["path"], may_ask=bool(may_read))(scope, receive, sending)
                return
            if not has_key and scope["path"] not in OPEN:
                message = "given no valid API key; allowed: the server's, as X-API-Key or Authorization: Bearer"
                raise Refused(401, "unauthorized", message, {"www-authenticate": "Bearer"})
            # Uvicorn leaves out the body of its answer.
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self.app({**scope, "method": method}, receive, sending)
        except Refused as refused:
            await error_response(refused, request_id)(scope, receive, sending)
        except Gone:
            status = CLIENT_CLOSED
        except Exception:
            # A fault of ours: the client learns no more.
            scope["state"]["logged"]["trace"] = traceback.format_exc()
        finally:
            self._note(scope, status or CLIENT_CLOSED, time.perf_counter() - started)

    def _has_key(self, headers: Headers) -> bool:
        """Whether it has the key, or there is none."""
        if self.key is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token.strip() if scheme.lower() == "bearer" else "")
        return hmac.compare_digest(given.encode("latin-1"), self.key)

    def note_unread(self, status: int) -> str:
        """Count and log what was no request of the application; returns its new id."""
        request_id = _id(None)
        self.metrics.request("other", status, 0.0)
        self.log.write(request_id=request_id, method="", path="", status=status, ms=0.0)
        return request_id

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        path, state = scope["path"], scope["state"]
        self.metrics.request(path if path in PATHS else "other", status, seconds)
        self.log.write(
            request_id=state["request_id"],
            method=scope["method"],
            path=path,
            status=status,
            ms=round(seconds * 1000, 2),
            **state["logged"],
        )


def methods_of(path: str) -> str:
    return "OPTIONS, POST" if path in POST_ALONE else "GET, HEAD, OPTIONS"


def _options(path: str, *, may_ask: bool) -> Response:
    """What can be asked of a path, and by a page of another origin if it may."""
    answer = Response(status_code=204, headers={"allow": methods_of(path)})
    answer.raw_headers += MAY_ASK if may_ask else []
    return answer


def _another_host(given: str) -> Refused:
    allowed = "localhost, 127.0.0.1 and what the setting hosts names"
    return Refused(421, "another_host", f"given the Host {given[:LONGEST_HOST]!r}; allowed: {allowed}")


def _id(given: str | None) -> str:
    return given if given and VALID_ID.fullmatch(given) else secrets.token_hex(8)


def error_response(refused: Refused, request_id: str) -> Response:
    more = {"connection": "close"} if refused.status == 408 else {}
    content = error_body(refused.code, refused.message, request_id)
    return Response(content, refused.status, {**refused.headers, **more}, "application/json")


def error_body(code: str, message: str, request_id: str) -> bytes:
    return json.dumps({"error": {"code": code, "message": message}, "request_id": request_id}).encode()
