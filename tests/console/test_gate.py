"""Does nobody get to the page who should not? Asked by HTTP, without a browser's good manners."""

from __future__ import annotations

import http.client
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from tests.process import BrokerProcess
from tidewire.access.passwords import set_password

pytest.importorskip("nicegui", reason="the extra console is not installed")

from starlette.requests import HTTPConnection

from tidewire.console.gate import BODY_BYTES, FORM_FIELDS, _visitor

CONFIG = """
port = 0
durability = "memory"
[console]
port = 0
operators = ["ann"]
hosts = ["broker.example"]
[access]
password_file = "{users}"
[[access.rules]]
effect = "allow"
topic = "open/#"
"""


class Page:
    """The page of a broker, as HTTP sees it."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        url = urlsplit(broker.wait_for(r"console: (\S+)").group(1))
        assert url.hostname is not None and url.port is not None
        self.host, self.port = url.hostname, url.port

    def ask(
        self, path: str = "/", method: str = "GET", body: str | Iterable[bytes] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers in lower case and text."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=30)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def log_in(self, user: str, password: str, **headers: str) -> tuple[int, dict[str, str], str]:
        form = urlencode({"user": user, "password": password})
        return self.ask("/log-in", "POST", form, Content_Type="application/x-www-form-urlencoded", **headers)


@pytest.fixture(scope="module")
def open_page() -> Iterator[Page]:
    """Of a broker without users."""
    with BrokerProcess("--memory", "--console-port", "0") as broker:
        yield Page(broker)
        assert "Traceback" not in broker.log


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Of a broker with the operator ann and the user bob."""
    directory = tmp_path_factory.mktemp("gate")
    users = directory / "users"
    for name in ("ann", "bob"):
        set_password(users, name, f"{name} tide".encode())
    config = directory / "broker.toml"
    config.write_text(CONFIG.format(users=users), encoding="utf-8")
    with BrokerProcess("--config", config) as broker:
        yield Page(broker)
        assert "Traceback" not in broker.log


def cookie(headers: dict[str, str]) -> str:
    """What a browser would send back."""
    return headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize("path", ["/", "/clients", "/_nicegui_ws/socket.io/?EIO=4&transport=polling", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:9884"},
        {"Host": "["},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
    ],
)
def test_another_site_reaches_nothing(open_page: Page, path: str, headers: dict[str, str]) -> None:
    status, answered, text = open_page.ask(path, **headers)
    assert status == 403
    assert "set-cookie" not in answered and "hosts in [console]" in text


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_shows_of_it_is_refused_and_its_links_lead_to_pages(open_page: Page, site: str) -> None:
    def asked(path: str, how: str, what: str, method: str = "GET") -> int:
        return open_page.ask(path, method, Sec_Fetch_Site=site, Sec_Fetch_Mode=how, Sec_Fetch_Dest=what)[0]

    assert asked("/", "no-cors", "image") == 403
    assert asked("/", "navigate", "iframe") == 403
    assert asked("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "no-cors", "script") == 403
    assert asked("/_nicegui_ws/socket.io/?EIO=4&transport=polling", "navigate", "document") == 403
    assert asked("/log-out", "navigate", "document", "POST") == 403
    assert asked("/topics", "navigate", "document") == 200


def test_a_body_says_how_long_it_is_and_is_not_too_long(open_page: Page) -> None:
    for path in ("/_nicegui/client/any/upload/1", "/log-in"):
        assert open_page.ask(path, "POST", iter([b"x" * 100]))[0] == 411
        assert open_page.ask(path, "POST", Content_Length=str(BODY_BYTES + 1))[0] == 413


def test_without_users_the_page_comes_at_once_and_may_not_be_framed(open_page: Page) -> None:
    status, headers, _ = open_page.ask()
    assert status == 200
    assert headers["content-security-policy"].startswith("frame-ancestors 'none'")
    assert "set-cookie" not in headers
    assert open_page.ask(Origin=f"http://{open_page.host}:{open_page.port}")[0] == 200


@pytest.mark.parametrize("path", ["/", "/clients", "/nothing"])
def test_who_has_not_logged_in_is_led_there(page: Page, path: str) -> None:
    status, headers, _ = page.ask(path, Accept="text/html")
    assert (status, headers["location"]) == (303, "/log-in")
    assert page.ask("/_nicegui_ws/socket.io/?EIO=4&transport=polling", Accept="*/*")[0] == 401
    assert page.ask(path, Accept="text/html", Cookie="tidewire_console=made-up")[0] == 303


def test_a_wrong_password_is_told_and_a_name_is_never_markup(page: Page) -> None:
    status, headers, text = page.log_in('<b>"ann', "wrong")
    assert status == 403
    assert "User or password is wrong." in text
    assert "&lt;b&gt;&quot;ann" in text and '<b>"ann' not in text
    assert "set-cookie" not in headers


def test_an_operator_sees_the_clients_and_another_user_does_not(page: Page) -> None:
    for name, sees in (("ann", True), ("bob", False)):
        status, headers, _ = page.log_in(name, f"{name} tide")
        assert (status, headers["location"]) == (303, "/")
        assert "HttpOnly; SameSite=Strict" in headers["set-cookie"]
        status, _, text = page.ask(Cookie=cookie(headers))
        assert status == 200
        assert ("/clients" in text) is sees
        status, _, text = page.ask("/clients", Cookie=cookie(headers))
        assert status == 200
        assert ("This page is for operators" in text) is not sees


def test_who_logs_out_is_out(page: Page) -> None:
    secret = cookie(page.log_in("ann", "ann tide")[1])
    assert page.ask(Cookie=secret)[0] == 200
    assert page.ask("/log-out", Cookie=secret, Accept="*/*")[0] != 303  # a link of another page does not log out
    assert page.ask("/log-out", "POST", Cookie=secret)[0] == 303
    assert page.ask(Cookie=secret, Accept="text/html")[0] == 303


def test_who_logs_in_again_is_not_in_twice(page: Page) -> None:
    first = cookie(page.log_in("ann", "ann tide")[1])
    form = urlencode({"user": "ann", "password": "ann tide"})
    second = cookie(page.ask("/log-in", "POST", form, Cookie=first)[1])
    assert page.ask(Cookie=first, Accept="text/html")[0] == 303
    assert page.ask(Cookie=second, Accept="text/html")[0] == 200


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP here")
def test_a_new_configuration_ends_the_visits_that_the_old_one_has_let_in(page: Page) -> None:
    secret = cookie(page.log_in("ann", "ann tide")[1])
    assert page.ask(Cookie=secret)[0] == 200
    page.broker.signal(signal.SIGHUP)
    page.broker.wait_for("configuration reloaded")
    assert page.ask(Cookie=secret, Accept="text/html")[0] == 303


@pytest.mark.parametrize("form", ["user=\xff", "&".join(f"field{number}=x" for number in range(FORM_FIELDS + 1))])
def test_what_is_no_log_in_is_told_so(page: Page, form: str) -> None:
    status, _, text = page.ask("/log-in", "POST", form)
    assert status == 400
    assert "not the form of this page" in text


def test_a_form_that_is_too_long_is_not_read(page: Page) -> None:
    status, _, text = page.log_in("ann", "x" * 10_000)
    assert status == 413
    assert "too long" in text


def test_a_websocket_of_who_has_not_logged_in_is_refused_without_a_word_in_the_log(page: Page) -> None:
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    assert page.ask(path, Sec_WebSocket_Key="dGlkZXdpcmV0aWRld2lyZQ==", **asked)[0] == 403
    page.ask("/log-in")  # what would be said has been said by now
    assert "ASGI" not in page.broker.log


def test_a_proxy_that_is_trusted_says_who_asks_and_how_they_came(tmp_path: Path) -> None:
    users, config = tmp_path / "users", tmp_path / "broker.toml"
    set_password(users, "ann", b"ann tide")
    text = CONFIG.format(users=users).replace("[access]", "[access]\nattempts = 1")

    def told(trusted: str) -> set[str]:
        """The last word of the cookie of two visitors who come by HTTPS, when a third has given a wrong password."""
        config.write_text(text.replace("[console]", f"[console]\ntrusted_proxies = [{trusted}]"), encoding="utf-8")
        with BrokerProcess("--config", config) as broker:
            page = Page(broker)
            page.log_in("ann", "wrong", X_Forwarded_For="192.0.2.1")
            visitors = ("192.0.2.2", "2001:db8::1")
            answers = [
                page.log_in("ann", "ann tide", X_Forwarded_For=who, X_Forwarded_Proto="https") for who in visitors
            ]
            return {headers.get("set-cookie", "").rpartition("; ")[2] for _, headers, _ in answers}

    assert told('"127.0.0.0/8"') == {"Secure"}
    assert "Secure" not in told('"192.0.2.0/24"')  # who is not trusted cannot claim to be another


@pytest.mark.parametrize(
    ("client", "known_as"),
    [
        (("192.0.2.1", 5000), "192.0.2.1:5000"),
        (("2001:db8::1", 0), "[2001:db8::1]:0"),
        (("x" * 60_000, 0), "unknown:0"),
        (None, "unknown:0"),
    ],
)
def test_a_visitor_is_known_by_an_address_or_not_at_all(client: tuple[str, int] | None, known_as: str) -> None:
    assert _visitor(HTTPConnection({"type": "http", "headers": [], "client": client})) == known_as


def test_the_names_that_the_configuration_gives_are_its_own(page: Page) -> None:
    assert page.ask("/log-in", Host="broker.example")[0] == 200
    assert page.ask("/log-in", Host="broker.example.evil")[0] == 403
