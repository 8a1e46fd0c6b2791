"""Is the same message by other protocols counted as it goes, and is what is missing named?"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from functools import cache
from types import ModuleType

import pytest

from tests.overhead.conftest import Exchanged
from tidewire.overhead import protocols
from tidewire.overhead.mqtt import Message
from tidewire.overhead.protocols import ProtocolCost, measure, of_mqtt

Measured = Callable[..., dict[str, ProtocolCost]]


@pytest.fixture(scope="module")
def measured() -> Measured:
    """What a family of protocols costs, by name; performed once for each payload."""

    @cache
    def perform(family: str, payload_bytes: int = 20) -> dict[str, ProtocolCost]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(protocols, "FAMILIES", {family: family})
            costs, missing = measure(Message(payload_bytes=payload_bytes), lambda what: None)
        for each in missing:
            assert "is not installed" in each.why
            pytest.skip(each.why)
        return {cost.name: cost for cost in costs}

    return perform


@pytest.mark.parametrize("family", ["http", "coap"])
def test_a_longer_payload_costs_its_length(measured: Measured, family: str) -> None:
    for name, few in measured(family, 20).items():
        many = measured(family, 90)[name]
        assert many.message.sent.payload - few.message.sent.payload == 70
        # The tokens of CoAP are numbers that begin anywhere, so one may be a byte longer than another.
        slack = 1 if family == "coap" else 0
        assert abs(many.message.sent.protocol - few.message.sent.protocol) <= slack
        assert abs(many.message.received.stream - few.message.received.stream) <= slack


def test_http_answers_each_message_once(measured: Measured) -> None:
    costs = measured("http")
    assert {cost.round_trips for cost in costs.values() if cost.kept} == {1}
    each = costs["HTTP/1.1, a connection each"]
    kept = costs["HTTP/1.1, kept"]
    assert (each.round_trips, kept.first_round_trips) == (2, 2)  # TCP's handshake, and the answer
    assert each.message.both.stream == kept.message.both.stream
    assert each.message.both.segments > kept.message.both.segments
    assert costs["HTTP/2, kept"].message.both.protocol < kept.message.both.protocol


@pytest.mark.parametrize("name", ["CoAP, confirmable", "CoAP, not confirmable"])
def test_coap_is_two_datagrams(measured: Measured, name: str) -> None:
    cost = measured("coap")[name]
    assert (cost.message.sent.segments, cost.message.received.segments) == (1, 1)
    assert (cost.message.both.tcp_ip, cost.round_trips) == (2 * 28, 1)
    assert (cost.last.total, cost.first) == (0, cost.message)


@pytest.mark.skipif(shutil.which("rabbitmq-server") is None, reason="RabbitMQ is not installed")
def test_amqp_is_confirmed_by_one_more_frame(measured: Measured) -> None:
    costs = measured("amqp")
    confirmed, not_confirmed = costs["AMQP 0-9-1, confirmed"], costs["AMQP 0-9-1, not confirmed"]
    assert confirmed.message.sent.stream == not_confirmed.message.sent.stream
    # Basic.Ack: frame header 7, class and method 4, delivery tag 8, multiple 1, frame end 1.
    assert (confirmed.message.received.stream, not_confirmed.message.received.stream) == (21, 0)
    assert (confirmed.round_trips, not_confirmed.round_trips) == (1, 0)


def test_a_library_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'something'", name="something")

    monkeypatch.setattr(protocols, "import_module", without)
    costs, missing = measure(Message(), lambda what: None)
    assert costs == []
    assert [each.name for each in missing] == list(protocols.FAMILIES.values())
    assert {each.why for each in missing} == {"something is not installed: pip install 'tidewire[overhead]'"}


def test_a_server_that_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aio_pika")
    monkeypatch.setattr(importlib.import_module("tidewire.overhead.amqp"), "PROGRAMS", ("no-such-server",))
    monkeypatch.setattr(protocols, "FAMILIES", {"amqp": "AMQP"})
    costs, [missing] = measure(Message(), lambda what: None)
    assert costs == []
    assert missing.why == "RabbitMQ is not installed: apt-get install rabbitmq-server"


def test_mqtt_stands_beside_them_with_its_connection(exchange: Exchanged) -> None:
    performed = exchange("tcp", alias=True)
    cost = of_mqtt(performed)[1]
    named_first = performed.stage("connect").traffic + performed.stage("publish first", 1).traffic
    assert (cost.name, cost.first) == ("MQTT 5.0, alias · TCP, QoS 1", named_first)
    assert cost.message == performed.stage("publish", 1).traffic
    assert cost.last == performed.stage("disconnect").traffic
    assert (cost.first_round_trips, cost.round_trips) == (3, 1)
