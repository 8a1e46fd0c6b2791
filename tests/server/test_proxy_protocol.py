"""Is the PROXY protocol's header read to its last byte, whatever it holds, and believed only where it should be?"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.process import PATIENCE_S
from tests.server.frames import FrameClient
from tidewire.server.proxy_protocol import V2_SIGNATURE, MalformedHeader, parse_v1, parse_v2, read_header
from tidewire.testing import BrokerThread
from tidewire.wire.framing import Decoder
from tidewire.wire.packets import Connack, Connect


def v2(command: int, family: int, rest: bytes) -> bytes:
    return V2_SIGNATURE + bytes([0x20 | command, family]) + len(rest).to_bytes(2, "big") + rest


IPV4 = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + (4242).to_bytes(2, "big") + (1883).to_bytes(2, "big")
IPV6 = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + bytes(16) + (4242).to_bytes(2, "big") + bytes(2)
EXTENSION = b"\x04\x00\x03abc"

GOOD = {
    "TCP4": (b"PROXY TCP4 192.0.2.1 192.0.2.2 4242 1883\r\n", ("192.0.2.1", 4242)),
    "TCP6": (b"PROXY TCP6 2001:db8::1 ::1 4242 1883\r\n", ("2001:db8::1", 4242)),
    "UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "UNKNOWN with more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "version 2, IPv4": (v2(1, 0x11, IPV4), ("192.0.2.1", 4242)),
    "version 2, IPv6": (v2(1, 0x21, IPV6), ("2001:db8::1", 4242)),
    "version 2 with extensions": (v2(1, 0x11, IPV4 + EXTENSION), ("192.0.2.1", 4242)),
    "version 2, of the proxy itself": (v2(0, 0x00, b""), None),
    "version 2, Unix socket": (v2(1, 0x31, bytes(216)), None),
}
BAD = {
    "MQTT": Connect("x").encode(4),
    "HTTP": b"GET /mqtt HTTP/1.1\r\n",
    "no addresses": b"PROXY TCP4\r\n",
    "an address of another family": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "no address": b"PROXY TCP4 192.0.2.300 192.0.2.2 1 2\r\n",
    "no port": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
    "a negative port": b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    "too long": b"PROXY UNKNOWN " + b"x" * 100 + b"\r\n",
    "no carriage return": b"PROXY UNKNOWN\n",
    "version 3": V2_SIGNATURE + b"\x31\x11\x00\x0c" + IPV4,
    "unknown command": v2(2, 0x11, IPV4),
    "too short for its addresses": v2(1, 0x11, IPV4[:-1]),
    "very long": V2_SIGNATURE + b"\x21\x11\xff\xff" + IPV4,
    "the end": b"PROXY TC",
}


def read(data: bytes) -> tuple[tuple[str, int] | None, bytes]:
    """The source in these bytes, and what is left in the socket."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        source = asyncio.run(read_header(ours))
        return source, ours.recv(65_536)


@pytest.mark.parametrize("kind", GOOD)
def test_a_header_names_the_client_and_leaves_what_follows(kind: str) -> None:
    header, source = GOOD[kind]
    assert read(header + b"\x10follows\r\n") == (source, b"\x10follows\r\n")
    assert read(header) == (source, b"")


@pytest.mark.parametrize("kind", BAD)
def test_anything_else_is_malformed(kind: str) -> None:
    with pytest.raises(MalformedHeader):
        read(BAD[kind])


@given(st.binary(max_size=120))
def test_no_bytes_do_more_than_be_malformed(data: bytes) -> None:
    for parse in (lambda: parse_v1(data), lambda: parse_v2(data[:16].ljust(16), data[16:])):
        try:
            source = parse()
        except MalformedHeader:
            continue
        assert source is None or 0 <= source[1] <= 65_535


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerThread]:
    base = {"bind": ["127.0.0.1"], "port": 0, "proxy_protocol": True}
    listeners = [base, base | {"protocol": "websocket"}, base | {"connections_per_address": 1}]
    with BrokerThread({"bind": [], "listener": listeners}) as broker:
        yield broker


def through_proxy(url: str, header: bytes, name: str) -> socket.socket:
    """A client behind a proxy that sends header and CONNECT in one write."""
    port = int(url.rpartition(":")[2])
    client = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    client.sendall(header + Connect(name).encode(4))
    return client


def answer(client: socket.socket) -> object:
    try:
        data = client.recv(4096)
    except ConnectionResetError:
        return None
    return Decoder(4, 4096).feed(data)[0] if data else None


def test_the_broker_sees_the_client_behind_the_proxy(broker: BrokerThread, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tidewire")
    with through_proxy(broker.urls[0], GOOD["version 2, IPv6"][0], "behind") as client:
        assert answer(client) == Connack()
    assert "connected client=behind peer=[2001:db8::1]:4242 " in caplog.text


def test_a_proxy_may_speak_for_itself(broker: BrokerThread, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tidewire")
    with through_proxy(broker.urls[0], GOOD["UNKNOWN"][0], "proxy") as client:
        assert answer(client) == Connack()
        assert f"connected client=proxy peer=127.0.0.1:{client.getsockname()[1]} " in caplog.text


@pytest.mark.parametrize("kind", ["MQTT", "version 3", "too long"])
def test_a_malformed_header_is_closed_and_logged(
    broker: BrokerThread, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with through_proxy(broker.urls[0], BAD[kind], "bad") as client:
        assert answer(client) is None
    assert "PROXY protocol" in caplog.text


def test_websocket_works_behind_a_proxy_too(broker: BrokerThread) -> None:
    with FrameClient(broker.urls[1]) as client:
        client.send(GOOD["TCP4"][0])
        client.connect("ws-behind")


def test_addresses_behind_the_proxy_are_counted_and_not_the_proxys(broker: BrokerThread) -> None:
    url = broker.urls[2]
    first = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    second = b"PROXY TCP4 192.0.2.7 192.0.2.2 1 2\r\n"
    with through_proxy(url, first, "one") as one, through_proxy(url, second, "two") as two:
        assert answer(one) == answer(two) == Connack()
        with through_proxy(url, first, "three") as three:
            assert answer(three) is None
    broker.wait_until(lambda: not {"one", "two"} & set(broker.clients))
    with through_proxy(url, first, "four") as four:
        assert answer(four) == Connack()
