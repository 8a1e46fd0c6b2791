"""MQTT 3.1.1 and 5.0, section 6: WebSocket as a network transport."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.frames import BINARY, CLOSE, TEXT, FrameClient, frame
from tidewire.testing import BrokerThread
from tidewire.wire.packets import Connect, Pingreq, Pingresp

UNSUPPORTED_DATA = 1003


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    listener = {"bind": ["127.0.0.1"], "port": 0, "protocol": "websocket"}
    with BrokerThread({"bind": [], "listener": [listener]}) as broker:
        yield broker.url


def closes_on_text(url: str, version: int) -> bool:
    with FrameClient(url) as client:
        client.upgrade().send(frame(Connect("text", version).encode(version)))
        kind, _ = client.frame() or (0, b"")
        assert kind == BINARY
        client.send(frame(Pingreq().encode(version), TEXT))
        return client.close_code() == UNSUPPORTED_DATA and client.is_closed()


def copes_with_any_cut(url: str, version: int) -> bool:
    stream = Connect("cut", version).encode(version) + Pingreq().encode(version) * 2
    for cut in range(1, len(stream)):
        with FrameClient(url) as client:
            client.upgrade().send(frame(stream[:cut]) + frame(stream[cut:]))
            received = b""
            while not received.endswith(Pingresp().encode(version) * 2):
                kind, payload = client.frame() or (CLOSE, b"")
                assert kind == BINARY
                received += payload
    return True


def chooses_mqtt(url: str) -> bool:
    with FrameClient(url) as client:
        status, head = client.request(Sec_WebSocket_Protocol="chat, mqtt")
        return status == 101 and b"\r\nSec-WebSocket-Protocol: mqtt\r\n" in head + b"\r\n"


def test_v311_6_0_0_1_a_text_frame_ends_the_connection(url: str) -> None:
    assert closes_on_text(url, 4)


def test_v5_6_0_0_1_a_text_frame_ends_the_connection(url: str) -> None:
    assert closes_on_text(url, 5)


def test_v311_6_0_0_2_packets_may_share_frames_and_be_split_over_them(url: str) -> None:
    assert copes_with_any_cut(url, 4)


def test_v5_6_0_0_2_packets_may_share_frames_and_be_split_over_them(url: str) -> None:
    assert copes_with_any_cut(url, 5)


def test_v311_6_0_0_4_the_subprotocol_is_mqtt(url: str) -> None:
    assert chooses_mqtt(url)


def test_v5_6_0_0_4_the_subprotocol_is_mqtt(url: str) -> None:
    assert chooses_mqtt(url)
