"""Who gets to the page? Requests from this page's own origin, by somebody who has logged in where there are users.

It stands before everything that NiceGUI serves, its WebSocket included: a page of another site that is open in the same
browser reaches nothing, whatever name it has given to this address. A link of another site may lead to a page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from ipaddress import ip_address
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from tidewire.access.web import is_loopback
from tidewire.console.log_in import log_in_page
from tidewire.console.publish.draft import FILE_BYTES
from tidewire.console.visits import COOKIE, VISIT_S, Visit, Visits
from tidewire.server.admin import Admin
from tidewire.server.listener import written

FORM_BYTES: Final = 8 * 1024
"""The longest form of a log-in: a name, and a password or a token."""
FORM_FIELDS: Final = 8
FORM_S: Final = 10.0
"""How long it may take to come."""

BODY_BYTES: Final = FILE_BYTES + 64 * 1024
"""The longest body of any request: the largest file that a page takes, with its envelope."""

VISIT: Final = "tidewire.visit"
"""Where the scope of a request that got through has its Visit."""

_POLICY: Final = "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
_ELSEWHERE: Final = frozenset(("cross-site", "same-site"))
"""What browsers say of requests that pages of other origins make (Fetch Metadata), also of those without Origin."""


class Gate:
    """Before an application."""

    def __init__(
        self,
        app: ASGIApp,
        admin: Admin,
        visits: Visits,
        *,
        operators: Collection[str],
        hosts: Collection[str],
        pages: Collection[str],
    ) -> None:
        """`hosts` are the names that browsers know it by, without ports; `pages` the paths that a link may lead to."""
        self.app = app
        self._admin = admin
        self._visits = visits
        self._operators = frozenset(operators)
        self._hosts = frozenset(host.lower() for host in hosts)
        self._pages = frozenset((*pages, "/log-in"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):  # the application's own start and end
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        secret = connection.cookies.get(COOKIE, "")
        asked = (scope.get("method"), scope["path"])  # a WebSocket has no method
        answer = self._refusal(connection)
        if answer is None and asked == ("POST", "/log-in"):
            answer = await self._log_in(Request(scope, receive), secret)
        elif answer is None and asked == ("GET", "/log-in"):
            answer = _log_in_page(200)
        elif answer is None and asked == ("POST", "/log-out"):
            self._visits.end(secret)
            answer = _to("/")
        elif answer is None:
            visit = self._visit(secret)
            if visit is not None:
                scope[VISIT] = visit
                await self.app(scope, receive, _with_headers(send))
                return
            wants_page = "text/html" in connection.headers.get("accept", "text/html")
            answer = _to("/log-in") if wants_page else Response("log in first\n", 401)
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)  # of an answer its page would see no more
        else:
            await answer(scope, receive, send)

    def _visit(self, secret: str) -> Visit | None:
        if self._admin.has_users():
            return self._visits.find(secret)
        return self._visits.shared(self._admin.nobody())

    def _refusal(self, connection: HTTPConnection) -> Response | None:
        """What is said to who does not name this page as its host, comes from elsewhere, or brings too much."""
        headers = connection.headers
        host, name = _place(f"//{headers.get('host', '')}")
        if not self._is_ours(name) or _place(headers.get("origin", f"//{host}"))[0] != host:
            return Response("This address is not one of the page's own names: see hosts in [console].\n", 403)
        if headers.get("sec-fetch-site") in _ELSEWHERE and not self._is_link(connection):
            return Response("Another site has asked for this; open the page itself.\n", 403)
        if "transfer-encoding" in headers:
            return Response("say Content-Length\n", 411)
        if _length(connection) > BODY_BYTES:
            return Response(f"a body has at most {BODY_BYTES} bytes\n", 413)
        return None

    def _is_ours(self, name: str) -> bool:
        return name in self._hosts or is_loopback(name)

    def _is_link(self, connection: HTTPConnection) -> bool:
        """Whether a person goes to a page, in a window of its own."""
        scope, headers = connection.scope, connection.headers
        how = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
        return scope.get("method") == "GET" and scope["path"] in self._pages and how == ("navigate", "document")

    async def _log_in(self, request: Request, before: str) -> Response:
        """`before`: the secret of the visit that ends with it, if there is one."""
        if _length(request) > FORM_BYTES:
            return _log_in_page(413, "That was too long.")
        try:
            async with asyncio.timeout(FORM_S):
                body = await request.body()  # as long as it has said, or as it has come
            form = dict(parse_qsl(body.decode(), max_num_fields=FORM_FIELDS))
        except TimeoutError:
            return _log_in_page(408, "That took too long to come.")
        except (ValueError, ClientDisconnect):
            return _log_in_page(400, "That was not the form of this page.")
        name = form.get("user", "")
        viewer = await self._admin.sign_in(name, form.get("password", ""), _visitor(request))
        if isinstance(viewer, str):
            return _log_in_page(403, viewer, name)
        self._visits.end(before)
        known = viewer.user_name or ""
        secret = self._visits.begin(None if known in self._operators else viewer, known, viewer.expires_at)
        response = _to("/")
        response.headers["set-cookie"] = _cookie(secret, request)
        return response


_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}


def visit_of(request: Request) -> Visit:
    """Whose request it is, once it has come through the gate."""
    visit = request.scope[VISIT]
    assert isinstance(visit, Visit)
    return visit


def _log_in_page(status: int, wrong: str = "", user: str = "") -> Response:
    return HTMLResponse(log_in_page(wrong, user), status, headers=_HEADERS)


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)


def _cookie(secret: str, connection: HTTPConnection) -> str:
    secure = "; Secure" if connection.url.scheme in ("https", "wss") else ""
    return f"{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={VISIT_S:.0f}{secure}"


def _with_headers(send: Send) -> Send:
    """What every answer says to the browser."""

    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = message.setdefault("headers", [])
            assert isinstance(headers, list)
            headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name != "cache-control"]
        await send(message)

    return sending  # type: ignore[return-value]  # Starlette's Message is a mutable mapping


def _place(address: str) -> tuple[str, str]:
    """(name with port, name) in an address; empty where it is none."""
    try:
        parts = urlsplit(address)
        return parts.netloc.lower(), parts.hostname or ""
    except ValueError:  # "//[", say
        return "", ""


def _visitor(connection: HTTPConnection) -> str:
    """`address:port` of who asks. What a proxy calls a visitor that is no address makes one visitor of all such."""
    host, port = connection.client or ("", 0)
    try:
        return written((str(ip_address(host)), port))
    except ValueError:
        return "unknown:0"


def _length(connection: HTTPConnection) -> int:
    """Bytes of the body: without Content-Length there is none, where Transfer-Encoding is refused (RFC 9112, 6.3)."""
    return int(connection.headers.get("content-length", "0"))  # digits, or it would not be HTTP
