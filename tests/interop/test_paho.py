"""Does paho-mqtt 2 work as it is, with both versions of its callbacks and in every version of MQTT?"""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt import publish, subscribe
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from tests.process import PATIENCE_S, BrokerProcess
from tidewire.wire.packets import Publish

pytestmark = pytest.mark.filterwarnings("ignore:Callback API version 1 is deprecated:DeprecationWarning")

APIS = [CallbackAPIVersion.VERSION1, CallbackAPIVersion.VERSION2]
PROTOCOLS = [mqtt.MQTTv31, mqtt.MQTTv311, mqtt.MQTTv5]
PROGRAMS = Path(__file__).parent / "programs"

Make = Callable[..., "Paho"]


class Paho:
    """A paho client whose callbacks, of either version, end in queues; its `loop_forever` runs in a thread."""

    def __init__(self, api: CallbackAPIVersion, protocol: int, port: int, identifier: str = "", **options: Any) -> None:
        clean = {} if protocol == mqtt.MQTTv5 else {"clean_session": options.pop("clean_session", True)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.client = mqtt.Client(api, identifier or None, protocol=protocol, **clean)
        self.messages: queue.Queue[tuple[str, bytes, int, bool]] = queue.Queue()
        self._events: dict[str, queue.Queue[Any]] = {}
        for name in ("connect", "disconnect", "subscribe", "unsubscribe", "publish"):
            self._events[name] = queue.Queue()
            setattr(self.client, f"on_{name}", self._recorder(name, api, protocol))
        self.client.on_message = lambda client, data, message: self.messages.put(
            (message.topic, message.payload, message.qos, message.retain)
        )
        if will := options.pop("will", None):
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", port, 60, **options)
        self._thread = threading.Thread(target=self.client.loop_forever, daemon=True)
        self._thread.start()
        self.connected = self.wait("connect")

    def wait(self, event: str) -> Any:
        """The arguments of the next call of a callback."""
        return self._events[event].get(timeout=PATIENCE_S)

    def message(self) -> tuple[str, bytes, int, bool]:
        return self.messages.get(timeout=PATIENCE_S)

    def subscribe(self, *arguments: Any, **options: Any) -> Any:
        self.client.subscribe(*arguments, **options)
        return self.wait("subscribe")

    def publish(self, topic: str, payload: bytes | str | None = b"x", qos: int = 0, **options: Any) -> None:
        """Publish, and wait until the handshake of its quality of service is over."""
        self.client.publish(topic, payload, qos, **options).wait_for_publish(PATIENCE_S)

    def disconnect(self) -> None:
        """Which also ends `loop_forever`."""
        self.client.disconnect()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def die(self) -> None:
        """Close the socket without a word."""
        self.client.on_disconnect = None
        self.client._reconnect_on_failure = False
        self.client.socket().shutdown(2)
        self._thread.join(PATIENCE_S)

    def _recorder(self, name: str, api: CallbackAPIVersion, protocol: int) -> Callable[..., None]:
        """A callback with exactly the parameters that paho documents for this version."""
        events = self._events[name]
        if api == CallbackAPIVersion.VERSION2:
            if name in ("connect", "disconnect"):
                return lambda client, data, flags, reason_code, properties: events.put((flags, reason_code))
            if name == "publish":
                return lambda client, data, mid, reason_code, properties: events.put(reason_code)
            return lambda client, data, mid, reason_codes, properties: events.put(reason_codes)
        if name == "publish":
            return lambda client, data, mid: events.put(mid)
        if protocol == mqtt.MQTTv5:
            if name == "connect":
                return lambda client, data, flags, reason_code, properties: events.put((flags, reason_code))
            if name == "disconnect":
                return lambda client, data, reason_code, properties: events.put(reason_code)
            if name == "subscribe":
                return lambda client, data, mid, reason_codes, properties: events.put(reason_codes)
            return lambda client, data, mid, properties, reason_codes: events.put(reason_codes)
        if name == "connect":
            return lambda client, data, flags, rc: events.put((flags, rc))
        if name == "disconnect":
            return lambda client, data, rc: events.put(rc)
        if name == "subscribe":
            return lambda client, data, mid, granted: events.put(list(granted))
        return lambda client, data, mid: events.put(mid)


@pytest.fixture(params=APIS, ids=lambda api: api.name)
def api(request: pytest.FixtureRequest) -> CallbackAPIVersion:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(params=PROTOCOLS, ids=lambda protocol: f"MQTTv{protocol}")
def protocol(request: pytest.FixtureRequest) -> int:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def make(api: CallbackAPIVersion, protocol: int, port: int, topic: str) -> Iterator[Make]:
    """Makes connected clients, and disconnects those that are left."""
    made: list[Paho] = []

    def connected(identifier: str = "", **options: Any) -> Paho:
        made.append(Paho(api, protocol, port, f"{identifier or len(made)}-{topic}"[:23], **options))
        return made[-1]

    yield connected
    for paho in made:
        paho.disconnect()


def test_connect_and_disconnect(make: Make) -> None:
    paho = make()
    flags, reason = paho.connected
    assert reason == 0
    assert not (flags.session_present if hasattr(flags, "session_present") else flags["session present"])
    paho.disconnect()
    assert paho.wait("disconnect") is not None


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_in_order(make: Make, topic: str, qos: int) -> None:
    subscriber, publisher = make(), make()
    assert [int(getattr(code, "value", code)) for code in subscriber.subscribe(topic, qos)] == [qos]
    for number in range(100):
        publisher.client.publish(topic, str(number), qos)
    assert [subscriber.message() for _ in range(100)] == [(topic, str(n).encode(), qos, False) for n in range(100)]
    for _ in range(100):
        publisher.wait("publish")


def test_several_subscriptions_on_one_connection(make: Make, topic: str) -> None:
    subscriber, publisher = make(), make()
    assert len(subscriber.subscribe([(f"{topic}/a", 0), (f"{topic}/b/#", 1), (f"{topic}/+/c", 2)])) == 3
    subscriber.subscribe(f"{topic}/d", 1)
    for below in ("a", "b", "b/x", "x/c", "d", "nobody"):
        publisher.publish(f"{topic}/{below}", below, 2)
    # In any order: a message of QoS 2 is the program's after its PUBREL, and others may come before.
    assert {subscriber.message() for _ in range(5)} == {
        (f"{topic}/{below}", below.encode(), qos, False)
        for below, qos in (("a", 0), ("b", 1), ("b/x", 1), ("x/c", 2), ("d", 1))
    }
    subscriber.client.unsubscribe([f"{topic}/a", f"{topic}/d"])
    subscriber.wait("unsubscribe")
    for below in ("a", "d", "b"):
        publisher.publish(f"{topic}/{below}", below, 1)
    assert subscriber.message()[0] == f"{topic}/b"


def test_a_will_at_qos_2_is_published_when_the_client_dies(make: Make, topic: str) -> None:
    watcher = make("watcher")
    watcher.subscribe(topic, 2)
    make("doomed", will=(topic, "gone", 2, False)).die()
    assert watcher.message() == (topic, b"gone", 2, False)


def test_a_will_is_not_published_after_a_good_bye(make: Make, topic: str) -> None:
    watcher = make("watcher")
    watcher.subscribe(f"{topic}/#", 2)
    make("leaving", will=(f"{topic}/will", "gone", 2, False)).disconnect()
    watcher.publish(f"{topic}/after", b"after", 2)
    assert watcher.message()[0] == f"{topic}/after"


def test_a_retained_message_is_there_for_whoever_comes(make: Make, topic: str) -> None:
    publisher = make()
    publisher.publish(topic, b"kept", 1, retain=True)
    subscriber = make()
    subscriber.subscribe(topic, 1)
    assert subscriber.message() == (topic, b"kept", 1, True)
    publisher.publish(topic, None, 1, retain=True)
    assert subscriber.message() == (topic, b"", 1, False)


def test_a_session_keeps_what_comes_while_its_client_is_away(make: Make, topic: str, protocol: int) -> None:
    options: dict[str, Any] = {"clean_session": False}
    if protocol == mqtt.MQTTv5:
        properties = Properties(mqtt.PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 600
        options = {"clean_start": False, "properties": properties}
    away = make("away", **options)
    away.subscribe(topic, 2)
    away.disconnect()
    publisher = make("publisher")
    for number in range(50):
        publisher.publish(topic, str(number), 2)
    back = make("away", **options)
    assert [back.message()[1] for _ in range(50)] == [str(number).encode() for number in range(50)]
    if protocol != mqtt.MQTTv31:
        flags, _ = back.connected
        assert flags.session_present if hasattr(flags, "session_present") else flags["session present"]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_the_one_line_helpers(make: Make, port: int, topic: str, protocol: int, qos: int) -> None:
    subscriber = make()
    subscriber.subscribe(topic, 2)
    at = {"hostname": "127.0.0.1", "port": port, "protocol": protocol}
    publish.single(topic, "one", qos, **at)
    publish.multiple([(topic, "two", qos, False), (topic, "three", qos, True)], **at)
    assert [subscriber.message()[1:3] for _ in range(3)] == [(b"one", qos), (b"two", qos), (b"three", qos)]
    kept = subscribe.simple(topic, qos, **at)
    assert (kept.topic, kept.payload, kept.retain) == (topic, b"three", True)


def test_options_and_properties_of_version_5(port: int, topic: str) -> None:
    paho = Paho(CallbackAPIVersion.VERSION2, mqtt.MQTTv5, port)
    received: queue.Queue[Any] = queue.Queue()
    paho.client.on_message = lambda client, data, message: received.put(message)
    paho.subscribe(topic, options=SubscribeOptions(1, noLocal=False, retainAsPublished=True))
    properties = Properties(mqtt.PacketTypes.PUBLISH)
    properties.UserProperty = [("one", "1"), ("two", "2"), ("one", "3")]
    properties.CorrelationData = b"\0\1"
    properties.TopicAlias = 1
    paho.publish(topic, b"x", 1, retain=True, properties=properties)
    message = received.get(timeout=PATIENCE_S)
    assert message.retain
    assert message.properties.UserProperty == [("one", "1"), ("two", "2"), ("one", "3")]
    assert message.properties.CorrelationData == b"\0\1"
    paho.disconnect()


def test_the_house_of_two_programs(broker: BrokerProcess) -> None:
    """A subscriber of several topics with a will at QoS 2, and a publisher in both its ways, each as it was written."""
    watcher = broker.connect("watcher")
    watcher.subscribe("Alarm/Iam/Offline", 2)
    publish.single("ross_house/kitchen/alarm/", "ready", retain=True, hostname="127.0.0.1", port=broker.port)
    at = ["127.0.0.1", str(broker.port)]
    command = [sys.executable, "-W", "ignore::DeprecationWarning"]
    with subprocess.Popen(
        [*command, PROGRAMS / "house_subscriber.py", *at], stdout=subprocess.PIPE, text=True
    ) as subscriber:
        assert subscriber.stdout is not None
        assert subscriber.stdout.readline() == "ross_house/kitchen/alarm/ ready\n"
        publish.single("ross_house/kitchen/temperature", "21.5", hostname="127.0.0.1", port=broker.port)
        publish.single("ross_house/living_room/temperature", "23.0", hostname="127.0.0.1", port=broker.port)
        subprocess.run([*command, PROGRAMS / "house_publisher.py", *at], check=True, timeout=PATIENCE_S)
        assert [subscriber.stdout.readline() for _ in range(4)] == [
            "ross_house/kitchen/temperature 21.5\n",
            "ross_house/living_room/temperature 23.0\n",
            "ross_house/kitchen/alarm/ Motion was detected\n",
            "ross_house/kitchen/alarm/ Motion was detected\n",
        ]
        subscriber.kill()
    will = watcher.receive()
    assert isinstance(will, Publish)
    assert (will.topic, will.payload, will.qos) == (b"Alarm/Iam/Offline", b"the house is offline", 2)
    watcher.close()
