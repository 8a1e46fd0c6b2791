"""Who gets to the page? Requests from this page's own origin, by somebody who has logged in where there are users.

It stands before everything that NiceGUI serves, its WebSocket included: a page of another site that is open in the same
browser reaches nothing, whatever name it has given to this address.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tidewire.access.web import is_loopback
from tidewire.console.log_in import log_in_page
from tidewire.console.visits import COOKIE, VISIT_S, Visit, Visits
from tidewire.server.admin import Admin

FORM_BYTES: Final = 8 * 1024
"""The longest form of a log-in: a name, and a password or a token."""
FORM_FIELDS: Final = 8

VISIT: Final = "tidewire.visit"
"""Where the scope of a request that got through has its Visit."""

_POLICY: Final = "frame-ancestors 'none'; base-uri 'self'; form-action 'self'"


class Gate:
    """Before an application; `hosts` are the names that browsers know it by, without ports."""

    def __init__(self, app: ASGIApp, admin: Admin, visits: Visits, operators: Collection[str], hosts: Collection[str]):
        self.app = app
        self._admin = admin
        self._visits = visits
        self._operators = frozenset(operators)
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):  # the application's own start and end
            await self.app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if not self._from_here(connection):
            refusal = Response("This address is not one of the page's own names: see hosts in [console].\n", 403)
            await refusal(scope, receive, send)
            return
        secret = connection.cookies.get(COOKIE, "")
        visit = self._visits.find(secret)
        new = ""
        if visit is None and not self._admin.has_users():
            new = self._visits.begin(self._admin.nobody())
            visit = self._visits.find(new)
        path = scope["path"]
        if scope["type"] == "http" and path == "/log-in":
            await (await self._log_in(Request(scope, receive)))(scope, receive, send)
        elif scope["type"] == "http" and path == "/log-out" and scope["method"] == "POST":
            self._visits.end(secret)
            await _to("/")(scope, receive, send)
        elif visit is None:
            wants_page = "text/html" in connection.headers.get("accept", "text/html")
            answer = _to("/log-in") if wants_page else Response("log in first\n", 401)
            await answer(scope, receive, send)
        else:
            scope[VISIT] = visit
            await self.app(scope, receive, _with_headers(send, _cookie(new, connection) if new else ""))

    def _from_here(self, connection: HTTPConnection) -> bool:
        """Whether it names this page as its host, and comes from a page of that host, or from none."""
        host = connection.headers.get("host", "").lower()
        if not self._is_ours(urlsplit(f"//{host}").hostname or ""):
            return False
        origin = connection.headers.get("origin")
        return origin is None or urlsplit(origin).netloc.lower() == host

    def _is_ours(self, name: str) -> bool:
        return name in self._hosts or name == "localhost" or _is_loopback_address(name)

    async def _log_in(self, request: Request) -> Response:
        if request.method != "POST":
            return HTMLResponse(log_in_page(), headers=_HEADERS)
        if int(request.headers.get("content-length") or FORM_BYTES + 1) > FORM_BYTES:
            return HTMLResponse(log_in_page("That was too long."), 413, headers=_HEADERS)
        form = await request.form(max_files=0, max_fields=FORM_FIELDS)
        name, password = (str(form.get(key, "")) for key in ("user", "password"))
        peer = request.client
        viewer = await self._admin.sign_in(name, password, f"{peer.host}:{peer.port}" if peer is not None else "")
        if isinstance(viewer, str):
            return HTMLResponse(log_in_page(viewer, name), 403, headers=_HEADERS)
        known = viewer.user_name or ""
        secret = self._visits.begin(None if known in self._operators else viewer, known)
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


def _to(path: str) -> Response:
    return RedirectResponse(path, 303)


def _cookie(secret: str, connection: HTTPConnection) -> str:
    secure = "; Secure" if connection.url.scheme in ("https", "wss") else ""
    return f"{COOKIE}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={VISIT_S:.0f}{secure}"


def _with_headers(send: Send, cookie: str) -> Send:
    """What every answer says to the browser."""

    async def sending(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            headers = message.setdefault("headers", [])
            assert isinstance(headers, list)
            headers += [(name.encode(), value.encode()) for name, value in _HEADERS.items() if name != "cache-control"]
            if cookie:
                headers.append((b"set-cookie", cookie.encode()))
        await send(message)

    return sending  # type: ignore[return-value]  # Starlette's Message is a mutable mapping


def _is_loopback_address(name: str) -> bool:
    try:
        return is_loopback(name)
    except ValueError:
        return False
