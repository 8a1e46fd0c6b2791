"""Does the administration over HTTP answer who has the token, nobody else, and a mistake in one line?"""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.process import BareClient
from tests.server.administered import run
from tidewire.server import admin_http, http_server
from tidewire.server.admin import Admin
from tidewire.server.config import ConfigError
from tidewire.server.embedded import Broker
from tidewire.wire.packets import Publish

TOKEN = "0123456789abcdef0123456789abcdef"

REFUSED: list[dict[str, str]] = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer "},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Bearer {TOKEN}0"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
]
"""Requests that have not the token."""

MISTAKES: list[tuple[str, str, object, int, str]] = [
    ("GET", "/v1/clients?limit=0", None, 400, "limit: Expected int >= 1"),
    ("GET", "/v1/clients?limit=x", None, 400, "limit: Expected int, got str"),
    ("GET", "/v1/clients?limit=1&limit=2", None, 400, "limit is given more than once"),
    ("GET", "/v1/clients?colour=red", None, 400, "Object contains unknown field colour"),
    ("GET", "/v1/clients?order=age", None, 400, "order='age' is not known; give one of name"),
    ("GET", "/v1/overview?x=1", None, 400, "Object contains unknown field x"),
    ("GET", "/v1/retained?topic_filter=a%23", None, 400, "# must be the whole last level"),
    ("GET", "/v1/topics?topic_filter=a%23", None, 400, "# must be the whole last level"),
    ("DELETE", "/v1/retained", None, 400, "Object missing required field topic_filter"),
    ("DELETE", "/v1/clients/lamp/connection?reason_code=1", None, 400, "reason_code=1 does not end a connection"),
    ("GET", "/v1/clients/lamp", None, 404, "there is no client 'lamp'"),
    ("POST", "/v1/publish", b"{", 400, "Input data was truncated"),
    ("POST", "/v1/publish", b"\xff", 400, "JSON is malformed"),
    ("POST", "/v1/publish", {"topic": "a/+"}, 400, "cannot publish to 'a/+'"),
    ("POST", "/v1/publish", {"topic": "a", "qos": 3}, 400, "qos: Expected int <= 2"),
    ("POST", "/v1/publish", {"topic": "a", "text": "x", "payload": "AA=="}, 400, "give one of them"),
    ("POST", "/v1/reload", None, 400, "no configuration file to read again"),
    ("PUT", "/v1/overview", None, 405, "Method Not Allowed"),
    ("GET", "/v2", None, 404, "Not Found"),
]
"""(method, path, body, status, part of the error)."""


class Api:
    """A broker's administration, from outside; and a client of the broker."""

    def __init__(self, broker: Broker) -> None:
        server = broker.server.admin_server
        assert server is not None
        self.broker = broker
        self.url = server.urls[0]

    async def ask(self, method: str, path: str, body: object = None, token: str | None = TOKEN) -> tuple[int, Any]:
        """(status, answer)."""
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        return await asyncio.to_thread(fetched, request)

    async def client(self, name: str) -> BareClient:
        return await asyncio.to_thread(lambda: BareClient(("127.0.0.1", self.broker.port), 5).connect(name))


def fetched(request: urllib.request.Request) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, text = error.code, error.read()
    return status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@asynccontextmanager
async def served(token_file: Path, **admin: Any) -> AsyncIterator[Api]:
    settings = {"token_file": str(token_file), "port": 0, **admin}
    async with Broker({"bind": ["127.0.0.1"], "port": 0, "admin": settings}) as broker:
        yield Api(broker)


# -- who may


def test_without_the_token_nothing_is_said(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            for path in ("/v1/overview", "/metrics", "/openapi.json", "/v1/none", "/", "/health/", "//health"):
                for headers in REFUSED:
                    status, answer = await asyncio.to_thread(
                        fetched, urllib.request.Request(api.url + path, None, headers)
                    )
                    assert (status, list(answer)) == (401, ["error"]), (path, headers)

    run(check())


def test_health_is_said_to_everybody(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            assert await api.ask("GET", "/health", token=None) == (200, {"status": "ok"})

    run(check())


def test_the_token_is_compared_in_constant_time(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    class Spy:
        @staticmethod
        def compare_digest(one: bytes, other: bytes) -> bool:
            compared.append((one, other))
            return hmac.compare_digest(one, other)

    monkeypatch.setattr(admin_http, "hmac", Spy)

    async def check() -> None:
        async with served(token_file) as api:
            await api.ask("GET", "/v1/overview", token="wrong")
            await api.ask("GET", "/v1/overview", token=None)

    run(check())
    assert compared == [(b"wrong", TOKEN.encode()), (b"", TOKEN.encode())]


def test_without_configuration_there_is_no_administration() -> None:
    async def check() -> None:
        async with Broker({"bind": ["127.0.0.1"], "port": 0}) as broker:
            assert broker.server.admin_server is None

    run(check())


def test_a_token_file_that_others_may_read_keeps_the_broker_from_starting(token_file: Path) -> None:
    async def check() -> None:
        token_file.chmod(0o644)
        with pytest.raises(ConfigError, match=f"^admin.token_file: .*chmod 600 {token_file}$"):
            async with served(token_file):
                pass

    run(check())


def test_a_port_that_is_taken_is_told_with_its_mend(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            port = int(api.url.rpartition(":")[2])
            with pytest.raises(ConfigError, match=f"^admin.port: cannot listen on 127.0.0.1 port {port}: .*choose"):
                async with served(token_file, port=port):
                    pass

    run(check())


# -- what is answered


def test_clients_are_listed_shown_kicked_and_cleared(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            with await api.client("a/lamp é"):
                path = "/v1/clients/a%2Flamp%20%C3%A9"
                status, clients = await api.ask("GET", "/v1/clients?contains=lamp&limit=5")
                assert (status, [each["client_identifier"] for each in clients]) == (200, ["a/lamp é"])
                status, detail = await api.ask("GET", path)
                assert (status, detail["info"]["connected"]) == (200, True)
                assert await api.ask("DELETE", f"{path}/connection") == (200, {"done": True})
                assert await api.ask("DELETE", f"{path}/session") == (
                    404, {"error": "there is no client 'a/lamp é'"},
                )  # fmt: skip

    run(check())


def test_messages_are_published_listed_and_deleted(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            asked = {"topic": "a/b", "payload": "AAE=", "retain": True, "properties": {"content_type": "x"}}
            assert await api.ask("POST", "/v1/publish", asked) == (
                200, {"reason_code": 16, "reason": "no matching subscribers"},
            )  # fmt: skip
            await api.ask("POST", "/v1/publish", {"topic": "a/c", "text": "hé", "retain": True})
            status, kept = await api.ask("GET", "/v1/retained?topic_filter=a/%2B")
            assert status == 200
            assert [(each["topic"], each["payload"]) for each in kept] == [("a/b", "AAE="), ("a/c", "aMOp")]
            assert kept[0]["properties"] == {"content_type": "x"}
            said = {"count": 1, "bytes": 6, "topics": ["a/c"], "dry_run": True}
            query = "/v1/retained?topic_filter=%23&contains=h%C3%A9"
            assert await api.ask("DELETE", query) == (200, said)
            assert await api.ask("DELETE", f"{query}&dry_run=false") == (200, said | {"dry_run": False})
            assert await api.ask("GET", "/v1/retained?topic_filter=a/c") == (200, [])

    run(check())


def test_the_broker_is_shown(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            with await api.client("lamp"):
                _, overview = await api.ask("GET", "/v1/overview")
                assert overview["connections"] == 1
                assert (await api.ask("GET", "/v1/listeners"))[1] == overview["listeners"]
                assert (await api.ask("GET", "/v1/ledger"))[1] == overview["drops"]
                status, metrics = await api.ask("GET", "/metrics")
                assert (status, "\ntidewire_connections 1\n" in metrics) == (200, True)

    run(check())


@pytest.mark.parametrize(("count", "shown"), [(0, set()), (1, {"lamp"}), (5, {"lamp", "door"})])
def test_prometheus_is_told_of_as_many_clients_as_the_configuration_says(
    token_file: Path, count: int, shown: set[str]
) -> None:
    async def check() -> None:
        async with served(token_file, metrics_clients=count) as api:
            with await api.client("lamp") as lamp, await api.client("door"):
                await asyncio.to_thread(lamp.send, Publish(b"a", b"x" * 1000, 1, packet_identifier=1))
                await asyncio.to_thread(lamp.receive)
                _, metrics = await api.ask("GET", "/metrics")
                assert set(re.findall(r'client="(\w+)"', metrics)) == shown
                assert 'tidewire_metered_bytes_total{direction="in",layer="payload"} 1000\n' in metrics

    run(check())


def test_a_mistake_is_told_in_one_line(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            for method, path, body, status, error in MISTAKES:
                answered, answer = await api.ask(method, path, body)
                assert (answered, list(answer)) == (status, ["error"]), (path, answer)
                assert error in answer["error"]
                assert "\n" not in answer["error"]

    run(check())


def test_a_body_that_is_too_large_is_refused(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_http, "BODY_BYTES", 1000)

    async def check() -> None:
        async with served(token_file) as api:
            status, answer = await api.ask("POST", "/v1/publish", {"topic": "a", "text": "x" * 1000})
            assert (status, answer) == (413, {"error": "a body has at most 1000 bytes"})

    run(check())


def test_an_error_of_ours_is_not_shown(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Admin, "listeners", fail)

    async def check() -> None:
        async with served(token_file) as api:
            status, answer = await api.ask("GET", "/v1/listeners")
            assert (status, answer) == (500, {"error": "internal error; the broker's log says more"})

    run(check())


# -- connections


def connected(api: Api, request: bytes = b"") -> socket.socket:
    """A connection, and what is sent on it."""
    address = urlsplit(api.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    connection.sendall(request)
    return connection


def is_cut(connection: socket.socket) -> bool:
    """Whether it ends without an answer."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("bound", "begun"),
    [
        ("IDLE_S", b""),
        ("IDLE_S", b"GET /health HTTP/1.1\r\nHost: a\r\n"),
        ("BODY_S", b"POST /v1/publish HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\nContent-Length: 9\r\n\r\n{"
                   % TOKEN.encode()),
    ],
)  # fmt: skip
def test_a_request_that_does_not_come_is_not_waited_for(
    token_file: Path, monkeypatch: pytest.MonkeyPatch, bound: str, begun: bytes
) -> None:
    monkeypatch.setattr(http_server, bound, 0.05)

    async def check() -> None:
        async with served(token_file) as api:
            with await asyncio.to_thread(connected, api, begun) as connection:
                assert await asyncio.to_thread(is_cut, connection)
            assert (await api.ask("GET", "/health"))[0] == 200

    run(check())


def test_one_address_has_only_so_many_connections(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "CONNECTIONS_PER_ADDRESS", 2)

    async def check() -> None:
        async with served(token_file) as api:
            request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
            connections = [await asyncio.to_thread(connected, api, request) for _ in range(2)]
            for connection in connections:
                assert await asyncio.to_thread(connection.recv, 8) == b"HTTP/1.1"
            with await asyncio.to_thread(connected, api) as third:
                assert await asyncio.to_thread(is_cut, third)
            for connection in connections:
                connection.close()

    run(check())


# -- streams


def first_lines(url: str, until: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
    """Lines of a stream, up to the one that is waited for."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
    lines: list[dict[str, Any]] = []
    with urllib.request.urlopen(request, timeout=30) as response:
        while not lines or not until(lines[-1]):
            lines.append(json.loads(response.readline()))
    return lines


def test_topics_and_packets_come_as_lines_and_the_feeds_end_with_their_readers(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            broker = api.broker.server.broker
            topics = asyncio.create_task(
                asyncio.to_thread(first_lines, f"{api.url}/v1/topics", lambda line: bool(line["topics"]))
            )
            packets = asyncio.create_task(
                asyncio.to_thread(
                    first_lines,
                    f"{api.url}/v1/clients/lamp/packets",
                    lambda line: line["packets"][-1]["packet"] == "PUBLISH",
                )
            )
            while not broker.tree.levels or api.broker.server.gate.admitted is None:
                await asyncio.sleep(0)
            with await api.client("lamp") as lamp:
                lamp.send(Publish(b"a", b"x"))
                (changes,) = (line["topics"] for line in await topics if line["topics"])
                assert [(each["topic"], each["payload"]) for each in changes] == [("a", "eA==")]
                seen = [each["packet"] for line in await packets for each in line["packets"]]
                assert seen == ["CONNECT", "CONNACK", "PUBLISH"]
                while broker.tree.levels or api.broker.server.gate.admitted is not None:
                    lamp.send(Publish(b"a", b"x"))  # a reader's end is seen at the next line
                    await asyncio.sleep(0)

    run(check())


def test_there_are_only_so_many_streams(token_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_http, "STREAMS", 0)

    async def check() -> None:
        async with served(token_file) as api:
            assert await api.ask("GET", "/v1/topics") == (429, {"error": "0 streams are open; close one"})

    run(check())


def test_a_stream_does_not_keep_the_broker_from_stopping(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            request = urllib.request.Request(f"{api.url}/v1/topics", headers={"Authorization": f"Bearer {TOKEN}"})
            stream = await asyncio.to_thread(urllib.request.urlopen, request, None, 30)
            assert await asyncio.to_thread(stream.readline)
        with stream, pytest.raises((OSError, ValueError)):  # it was cut, not ended
            while line := await asyncio.to_thread(stream.readline):
                json.loads(line)
            raise ConnectionError("ended")

    run(check())


# -- the description


def references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [each for inner in value.values() for each in references(inner)]
    return [each for inner in value for each in references(inner)] if isinstance(value, list) else []


def test_every_call_is_described_and_every_description_is_there(token_file: Path) -> None:
    async def check() -> None:
        async with served(token_file) as api:
            status, document = await api.ask("GET", "/openapi.json")
            assert (status, document["openapi"]) == (200, "3.1.0")
            calls = admin_http.Api(api.broker.server, Admin(api.broker.server)).calls
            described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
            assert described == {(call.method, call.path) for call in calls} | {("GET", "/health"), ("GET", "/metrics")}
            schemas = document["components"]["schemas"]
            assert {each.rpartition("/")[2] for each in references(document)} <= set(schemas)
            operations = [each for methods in document["paths"].values() for each in methods.values()]
            identifiers = [each["operationId"] for each in operations if "operationId" in each]
            assert len(identifiers) == len(set(identifiers)) == len(calls)
            limit = next(
                each for each in document["paths"]["/v1/clients"]["get"]["parameters"] if each["name"] == "limit"
            )
            assert (limit["schema"]["maximum"], limit["required"]) == (1000, False)

    run(check())
