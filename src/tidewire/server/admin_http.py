"""The administration over HTTP: every call of `server.admin` as a resource, for who has the token.

What a call takes is a struct, what it answers is one of `server.admin_types`; `/openapi.json` is made from both.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.server.admin import LISTED, Admin, AdminFault, checked_filter
from tidewire.server.admin_metrics import CONTENT_TYPE, exposition
from tidewire.server.admin_openapi import Call, document
from tidewire.server.admin_types import (
    BudgetInfo,
    ClientDetail,
    ClientInfo,
    Deleted,
    Done,
    Fault,
    ListenerInfo,
    MessageProperties,
    Overview,
    PacketsSeen,
    Published,
    Reloaded,
    RetainedInfo,
    TopicChanges,
)
from tidewire.server.config import ConfigError
from tidewire.server.log import logger
from tidewire.store.meter_rows import Metered

if TYPE_CHECKING:
    from tidewire.server.server import Server

BODY_BYTES: Final = 16 * 1024 * 1024
"""The largest body of a request: a message of 10 MiB, which is what a client may send by default, in base64."""

STREAM_PAUSE_S: Final = 0.1
"""Between two lines of a stream: as often as a person can follow."""

STREAMS: Final = 16
"""Streams at a time: each costs the broker some of its time."""

Limit = Annotated[int, Meta(ge=1, le=LISTED)]
NDJSON: Final = "application/x-ndjson"


class Nothing(Struct, forbid_unknown_fields=True):
    """A call without parameters."""


class ClientsAsked(Struct, forbid_unknown_fields=True):
    contains: str = ""
    after: str = ""
    limit: Limit = 100
    order: str = "name"


class MetersAsked(Struct, forbid_unknown_fields=True):
    kind: str = "clients"
    contains: str = ""
    period: str = "month"
    limit: Limit = 100


class BudgetsAsked(Struct, forbid_unknown_fields=True):
    limit: Limit = 100


class KickAsked(Struct, forbid_unknown_fields=True):
    reason_code: int = 0x98


class RetainedAsked(Struct, forbid_unknown_fields=True):
    topic_filter: str = "#"
    contains: str = ""
    """A text in the payload."""
    after: str = ""
    limit: Limit = 100
    payload_bytes: Annotated[int, Meta(ge=0)] = 65_536


class DeleteAsked(Struct, forbid_unknown_fields=True):
    topic_filter: str
    contains: str = ""
    dry_run: bool = True


class TopicsAsked(Struct, forbid_unknown_fields=True):
    topic_filter: str = "#"


class PublishAsked(Struct, forbid_unknown_fields=True):
    """A message: its payload is `payload`, in base64, or `text`."""

    topic: str
    payload: bytes = b""
    text: str | None = None
    qos: Annotated[int, Meta(ge=0, le=2)] = 0
    retain: bool = False
    properties: MessageProperties | None = None


class Api:
    """The calls, for one broker."""

    def __init__(self, server: Server, admin: Admin) -> None:
        self._server = server
        self._admin = admin
        self._streams = 0
        self.calls = [
            Call("GET", "/v1/overview", "The broker in one look.", Nothing, Overview, self._overview),
            Call("GET", "/v1/listeners", "Where it listens.", Nothing, list[ListenerInfo], self._listeners),
            Call("GET", "/v1/ledger", "Dropped messages by reason.", Nothing, dict[str, int], self._ledger),
            Call("GET", "/v1/meters", "What clients or topics have cost, by layer.", MetersAsked, list[Metered],
                 self._meters),
            Call("GET", "/v1/budgets", "How far budgets are used.", BudgetsAsked, list[BudgetInfo], self._budgets),
            Call("GET", "/v1/clients", "Sessions, a page of them.", ClientsAsked, list[ClientInfo], self._clients),
            Call("GET", "/v1/clients/{name}/packets", "Its packets as they pass: lines of JSON.", Nothing,
                 PacketsSeen, self._packets, stream=True),
            Call("DELETE", "/v1/clients/{name}/connection", "End its connection.", KickAsked, Done, self._kick),
            Call("DELETE", "/v1/clients/{name}/session", "Discard its session.", Nothing, Done, self._clear),
            Call("GET", "/v1/clients/{name}", "One client.", Nothing, ClientDetail, self._client),
            Call("GET", "/v1/retained", "Retained messages, a page.", RetainedAsked, list[RetainedInfo],
                 self._retained),
            Call("DELETE", "/v1/retained", "Delete retained messages, or say which these are.", DeleteAsked, Deleted,
                 self._delete_retained),
            Call("GET", "/v1/topics", "What is published, by topic: lines of JSON.", TopicsAsked, TopicChanges,
                 self._topics, stream=True),
            Call("POST", "/v1/publish", "Publish a message.", PublishAsked, Published, self._publish, body=True),
            Call("POST", "/v1/reload", "Read the configuration anew.", Nothing, Reloaded, self._reload),
        ]  # fmt: skip

    def app(self, token: bytes) -> ASGIApp:
        """All of it, behind the token; `/health` before it."""
        schema = msgspec.json.encode(document(self.calls))

        async def described(request: Request) -> Response:
            return Response(schema, media_type="application/json")

        async def metrics(request: Request) -> Response:
            return Response(self._metrics(), headers={"content-type": CONTENT_TYPE})

        async def health(request: Request) -> Response:
            store = self._server.broker.store
            failing = store is not None and store.failing
            return _json({"status": "failing" if failing else "ok"}, 503 if failing else 200)

        routes = [
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/openapi.json", described),
            *(
                Route(call.path.replace("{name}", "{name:path}"), self._endpoint(call), methods=[call.method])
                for call in self.calls
            ),
        ]
        handlers: Any = {HTTPException: _told, Exception: _failed}
        return _Guard(Starlette(routes=routes, exception_handlers=handlers), token)

    def _endpoint(self, call: Call) -> Callable[[Request], Awaitable[Response]]:
        async def traced(request: Request) -> Response:
            tracing = self._server.tracing
            if tracing is None:
                return await respond(request)
            with tracing.call(f"{call.method} {call.path}", request.headers) as span:
                response = await respond(request)
                if span is not None:
                    span.set_attribute("http.response.status_code", response.status_code)
                return response

        async def respond(request: Request) -> Response:
            try:
                if call.body:
                    asked = msgspec.json.decode(await _body(request), type=call.takes)
                else:
                    asked = msgspec.convert(_parameters(request), call.takes, strict=False)
                name = request.path_params.get("name", "")
                answer = await call.answer(asked, name)
            except (msgspec.MsgspecError, AdminFault, ConfigError, UnicodeError) as error:
                return _json(Fault(error=_explained(error)), 400)
            if answer is None:
                return _json(Fault(error=f"there is no client {name!r}"), 404)
            return answer if isinstance(answer, Response) else _json(answer)

        return traced

    # -- the calls

    def _metrics(self) -> str:
        config = self._server.config.admin
        count = config.metrics_clients if config is not None else 0
        clients = self._admin.meters("clients", limit=count) if count else []
        return exposition(self._admin.overview(), self._admin.meters("total")[0], clients)

    async def _overview(self, asked: Nothing, name: str) -> Overview:
        return self._admin.overview()

    async def _listeners(self, asked: Nothing, name: str) -> list[ListenerInfo]:
        return self._admin.listeners()

    async def _ledger(self, asked: Nothing, name: str) -> dict[str, int]:
        return self._admin.ledger()

    async def _meters(self, asked: MetersAsked, name: str) -> list[Metered]:
        return self._admin.meters(asked.kind, asked.contains, asked.period, asked.limit)

    async def _budgets(self, asked: BudgetsAsked, name: str) -> list[BudgetInfo]:
        return self._admin.budgets(asked.limit)

    async def _clients(self, asked: ClientsAsked, name: str) -> list[ClientInfo]:
        return self._admin.clients(asked.contains, asked.after, asked.limit, asked.order)

    async def _client(self, asked: Nothing, name: str) -> ClientDetail | None:
        return self._admin.client(name)

    async def _kick(self, asked: KickAsked, name: str) -> Done | None:
        return Done(done=True) if self._admin.kick(name, asked.reason_code) else None

    async def _clear(self, asked: Nothing, name: str) -> Done | None:
        return Done(done=True) if self._admin.clear_session(name) else None

    async def _retained(self, asked: RetainedAsked, name: str) -> list[RetainedInfo]:
        contains = asked.contains.encode()
        return await self._admin.retained(
            asked.topic_filter, contains, asked.after, asked.limit, payload_bytes=asked.payload_bytes
        )

    async def _delete_retained(self, asked: DeleteAsked, name: str) -> Deleted:
        return await self._admin.delete_retained(asked.topic_filter, asked.contains.encode(), asked.dry_run)

    async def _publish(self, asked: PublishAsked, name: str) -> Published:
        if asked.text is not None and asked.payload:
            raise AdminFault("a message has a payload or a text; give one of them")
        payload = asked.payload if asked.text is None else asked.text.encode()
        return self._admin.publish(
            asked.topic, payload, qos=asked.qos, retain=asked.retain, properties=asked.properties
        )

    async def _reload(self, asked: Nothing, name: str) -> Reloaded:
        return Reloaded(needs_restart=await self._admin.reload())

    async def _packets(self, asked: Nothing, name: str) -> Response:
        async def lines() -> AsyncGenerator[bytes, None]:
            with self._admin.watch_packets(name) as feed:
                while True:
                    await feed.wait()
                    yield msgspec.json.encode(feed.take()) + b"\n"
                    await asyncio.sleep(STREAM_PAUSE_S)

        return self._stream(lines())

    async def _topics(self, asked: TopicsAsked, name: str) -> Response:
        checked_filter(asked.topic_filter)

        async def lines() -> AsyncGenerator[bytes, None]:
            with self._admin.watch_topics(asked.topic_filter) as feed:
                while True:
                    yield msgspec.json.encode(feed.take()) + b"\n"
                    await asyncio.sleep(STREAM_PAUSE_S)

        return self._stream(lines())

    def _stream(self, lines: AsyncGenerator[bytes, None]) -> Response:
        if self._streams >= STREAMS:
            raise HTTPException(429, f"{STREAMS} streams are open; close one")

        async def counted() -> AsyncGenerator[bytes, None]:
            self._streams += 1
            try:
                async with aclosing(lines):
                    async for line in lines:
                        yield line
            finally:
                self._streams -= 1

        return StreamingResponse(counted(), media_type=NDJSON)


class _Guard:
    """Lets nobody pass who has not the token, but to `/health`."""

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != "/health" and not self._has_token(scope):
            refusal = _json(Fault(error="the token is missing or wrong: Authorization: Bearer TOKEN"), 401)
            refusal.headers["www-authenticate"] = "Bearer"
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_token(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        return hmac.compare_digest(token.strip(), self._token) and scheme.lower() == b"bearer"


def _parameters(request: Request) -> dict[str, str]:
    """Raises AdminFault for one that is given twice."""
    items = request.query_params.multi_items()
    parameters = dict(items)
    if len(parameters) < len(items):
        twice = next(name for name, _ in items if len(request.query_params.getlist(name)) > 1)
        raise AdminFault(f"{twice} is given more than once")
    return parameters


async def _body(request: Request) -> bytes:
    """Raises HTTPException for one that is too large."""
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_BYTES:
                raise HTTPException(413, f"a body has at most {BODY_BYTES} bytes")
            parts.append(part)
    except ClientDisconnect:
        raise HTTPException(400, "the body has ended early") from None
    return b"".join(parts)


def _explained(error: Exception) -> str:
    """In one line, with the parameter in front: `limit: Expected int >= 1`."""
    text = " ".join(str(error).replace("`", "").split())
    return re.sub(r"(.*) - at \$\.(.+)", r"\2: \1", text)


def _json(answer: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


async def _told(request: Request, error: HTTPException) -> Response:
    response = _json(Fault(error=error.detail), error.status_code)
    response.headers.update(error.headers or {})
    return response


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of ours: the log has more."""
    logger.error("internal error: admin %s %s", request.method, request.url.path, exc_info=error)
    return _json(Fault(error="internal error; the broker's log says more"), 500)
