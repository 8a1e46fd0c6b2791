"""Does each small example do what its first lines say, on our broker and on any other?"""

from __future__ import annotations

import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import pytest

from examples.vehicle.fleet import free_port
from tests.examples.programs import Mosquitto, Program
from tests.process import PATIENCE_S
from tidewire import Message
from tidewire.sync import Client, Stream
from tidewire.testing import BrokerThread
from tidewire.wire.topics import matches

SMALL: Final = Path(__file__).parents[2] / "examples" / "small"
EXAMPLES: Final = sorted(path for path in SMALL.glob("*.py") if path.name != "__init__.py")

LINES_MAXIMUM: Final = 80
"""More is not read in a few minutes."""

ENDED: Final = (0, -signal.SIGINT, 128 + signal.SIGINT)
"""How an example may end on Ctrl-C."""


class Example(Program):
    """An example, by the name of its file."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        super().__init__(folder, sys.executable, SMALL / f"{name}.py", *arguments)


@contextmanager
def running(folder: Path, name: str, *arguments: str) -> Iterator[Example]:
    """An example that runs until Ctrl-C, and has to end then without a traceback."""
    example = Example(folder, name, *arguments)
    try:
        yield example
    except BaseException:
        example.interrupt()
        print(example.printed)
        raise
    status = example.interrupt()
    assert status in ENDED, example.printed
    assert "Traceback" not in example.printed, example.printed


def run(folder: Path, name: str, *arguments: str) -> str:
    """What an example prints that ends by itself."""
    example = Example(folder, name, *arguments)
    assert example.finish() == 0, example.printed
    return example.printed


class OurBroker(BrokerThread):
    """Tidewire, which tells what it knows."""

    def wait_for_subscription(self, topic_filter: str) -> None:
        self.wait_until(lambda: any(topic_filter in self.subscriptions(client) for client in self.clients))


class OtherBroker:
    """Any other broker, by the same names: what it knows is heard by a client and stands in its log."""

    def __init__(self, mosquitto: Mosquitto, client: Client, messages: Stream) -> None:
        self.url = mosquitto.url
        self._mosquitto = mosquitto
        self._client = client
        self._messages = messages
        self._received: list[Message] = []

    def wait_for_subscription(self, topic_filter: str) -> None:
        self._mosquitto.wait_for(f" [012] {re.escape(topic_filter)}$")

    def wait_for(self, topic_filter: str, count: int = 1) -> list[Message]:
        encoded = topic_filter.encode()
        while len(found := [message for message in self._received if matches(encoded, message.topic.encode())]) < count:
            self._received.append(self._messages.get(PATIENCE_S))
        return found[:count]

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        self._client.publish(topic, payload, qos=qos)


AnyBroker = OurBroker | OtherBroker


@pytest.fixture(params=["tidewire", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyBroker]:
    """The examples run against any broker."""
    if request.param == "tidewire":
        with OurBroker() as ours:
            yield ours
    else:
        with (
            Mosquitto(tmp_path) as mosquitto,
            Client(mosquitto.url) as client,
            client.subscribe("#", qos=2, no_local=True, retain_as_published=True) as messages,
        ):
            yield OtherBroker(mosquitto, client, messages)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_uses_the_public_names_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < LINES_MAXIMUM
    assert not re.search(r"(from|import) tidewire\.", text)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("board_to_board", ["button", "7"]),
        ("device_to_server", ["server"]),
        ("home", []),
        ("last_value", ["serve", "#", "--port", "0"]),
        ("motion_lights", []),
        ("sensor_plot", ["record", "#"]),
        ("server_to_human", ["#", "--port", "0"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_without_a_broker_an_example_says_so_in_one_line(name: str, arguments: list[str], tmp_path: Path) -> None:
    example = Example(tmp_path, name, *arguments, "--url", f"unix://{tmp_path}/nobody")
    assert example.finish() == 1, example.printed
    assert "Traceback" not in example.printed, example.printed
    assert example.lines[-1].startswith(f"{name}: "), example.printed


@pytest.fixture
def taken() -> Iterator[str]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield str(listener.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("last_value", ["serve", "#"]), ("server_to_human", ["#"]), ("server_to_server", [])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_port_that_is_taken_is_told_in_one_line(name: str, arguments: list[str], taken: str, tmp_path: Path) -> None:
    with BrokerThread() as broker:
        example = Example(tmp_path, name, *arguments, "--port", taken, "--url", broker.url)
        assert example.finish() == 1, example.printed
    [line] = example.lines
    assert line.startswith(f"{name}: ")
    assert taken in line
    assert " --port" in line


def test_a_value_that_nobody_serves_is_told_in_one_line(tmp_path: Path) -> None:
    example = Example(tmp_path, "last_value", "read", "home/kitchen/temperature", "--port", str(free_port()))
    assert example.finish() == 1, example.printed
    [line] = example.lines
    assert re.match(r"last_value: nothing serves on port \d+; start it: ", line)


def test_the_house_is_heated_and_calls_when_somebody_moves_while_it_is_armed(broker: AnyBroker, tmp_path: Path) -> None:
    with running(tmp_path, "home", "--url", broker.url) as home, Client(broker.url) as sensor:
        home.wait_for("^watching$")
        for temperature in ("19.9", "17.5", "17", "warm", "20.4", "20.6"):
            sensor.publish("home/kitchen/temperature", temperature, qos=1)
        heating = broker.wait_for("home/kitchen/heating", 2)
        assert [message.payload for message in heating] == [b"on", b"off"]
        assert all(message.retain for message in heating)
        sensor.publish("home/hall/motion", "true", qos=1)
        sensor.publish("home/armed", "true", qos=1)
        broker.wait_for("home/monitor", 2)
        sensor.publish("home/bathroom/motion", "false", qos=1)
        sensor.publish("home/kitchen/motion", "true", qos=1)
        [alarm] = broker.wait_for("home/+/alarm")
        assert (alarm.topic, alarm.payload) == ("home/kitchen/alarm", b"somebody moves in the kitchen")
    assert "home/kitchen/temperature: " in home.printed
    assert [state.payload for state in broker.wait_for("home/monitor", 3)] == [b"watching", b"armed", b"away"]


def test_a_button_switches_a_lamp_on_another_board(broker: AnyBroker, tmp_path: Path) -> None:
    with running(tmp_path, "board_to_board", "lamp", "7", "--url", broker.url) as lamp:
        lamp.wait_for("lamp 7 is off")
        assert run(tmp_path, "board_to_board", "button", "7", "--url", broker.url) == "lamp 7 says: on\n"
        assert run(tmp_path, "board_to_board", "button", "7", "--url", broker.url) == "lamp 7 says: off\n"
        states = broker.wait_for("lamps/7/state", 3)
        assert [state.payload for state in states] == [b"off", b"on", b"off"]


def test_readings_wait_for_a_server_that_is_restarted(broker: AnyBroker, tmp_path: Path) -> None:
    report = ("device_to_server", "device", "--name", "7", "--readings", "3", "--every", "0", "--url", broker.url)
    serve = ("device_to_server", "server", "--name", "one", "--url", broker.url)
    with running(tmp_path, *serve) as server:
        server.wait_for("^server one waits for readings$")
        broker.wait_for_subscription("$share/servers/devices/+/reading")
        assert run(tmp_path, *report) == "reported 3 readings\n"
        for _ in range(3):
            server.wait_for(r"^7 Reading\(")
    assert run(tmp_path, *report) == "reported 3 readings\n"
    broker.publish("devices/8/reading", b'{"time": "soon"}', qos=1)
    with running(tmp_path, *serve) as server:
        for _ in range(3):
            server.wait_for(r"^7 Reading\(")
        server.wait_for("^devices/8/reading: ")


def test_the_brokers_of_a_site_and_of_the_centre_exchange_messages(broker: AnyBroker, tmp_path: Path) -> None:
    with running(tmp_path, "server_to_server", "--url", broker.url, "--port", "0") as site:
        url = site.wait_for("the broker of the site is (mqtt://.*)").group(1)
        site.wait_for("^connected to the centre")
        broker.wait_for_subscription("site7/commands/#")
        with Client(url) as device, device.subscribe("commands/#", qos=2) as commands:
            device.publish("sensors/1", "17.5", qos=1)
            [reading] = broker.wait_for("site7/sensors/1")
            assert reading.payload == b"17.5"
            broker.publish("site7/commands/valve", b"open", qos=2)
            command = commands.get(timeout=PATIENCE_S)
            assert (command.topic, command.text()) == ("commands/valve", "open")


def test_a_light_goes_on_with_motion_and_off_without(broker: AnyBroker, tmp_path: Path) -> None:
    with running(tmp_path, "motion_lights", "--hold", "0.05", "--url", broker.url) as follower:
        follower.wait_for("^following$")
        broker.wait_for_subscription("home/+/motion")
        broker.publish("home/hall/motion", b"true", qos=1)
        lights = broker.wait_for("home/hall/light", 2)
        assert [(light.payload, light.retain) for light in lights] == [(b"on", True), (b"off", True)]


def test_a_light_that_is_on_goes_off_when_the_program_ends(broker: AnyBroker, tmp_path: Path) -> None:
    with running(tmp_path, "motion_lights", "--hold", "3600", "--url", broker.url):
        broker.wait_for_subscription("home/+/motion")
        broker.publish("home/hall/motion", b"true", qos=1)
        broker.wait_for("home/hall/light", 1)
    assert broker.wait_for("home/hall/light", 2)[1].payload == b"off"


def test_what_sensors_say_is_stored_and_plotted(broker: AnyBroker, tmp_path: Path) -> None:
    nothing = Example(tmp_path, "sensor_plot", "plot", "readings.svg")
    assert nothing.finish() == 1
    assert nothing.lines == ["sensor_plot: nothing was recorded yet: sensor_plot.py record 'home/+/temperature'\n"]
    with running(tmp_path, "sensor_plot", "record", "home/+/temperature", "--url", broker.url) as recorder:
        recorder.wait_for(r"^recording home/\+/temperature$")
        broker.wait_for_subscription("home/+/temperature")
        for payload in (b"17.5", b"warm", b"18"):
            broker.publish("home/kitchen/temperature", payload, qos=1)
            broker.publish("home/hall/temperature", payload, qos=1)
        recorder.wait_for("kitchen/temperature 18.0")
        recorder.wait_for("hall/temperature 18.0")
    assert run(tmp_path, "sensor_plot", "plot", "readings.svg") == ""
    picture = (tmp_path / "readings.svg").read_text(encoding="utf-8")
    assert "home/kitchen/temperature" in picture
    assert "home/hall/temperature" in picture


def test_an_http_client_reads_the_last_value(broker: AnyBroker, tmp_path: Path) -> None:
    with Client(broker.url) as sensor:
        sensor.publish("home/kitchen/temperature", "17.5", qos=1, retain=True)
    with running(tmp_path, "last_value", "serve", "home/#", "--port", "0", "--url", broker.url) as gateway:
        port = gateway.wait_for(r"^serving on http://127.0.0.1:(\d+)$").group(1)
        broker.wait_for_subscription("home/#")
        read = ("last_value", "read", "home/kitchen/temperature", "--port", port)
        assert run(tmp_path, *read) == "17.5\n"
        missing = Example(tmp_path, "last_value", "read", "home/attic/temperature", "--port", port)
        assert missing.finish() == 1
        assert missing.lines == ["last_value: HTTP Error 404: Not Found\n"]


def test_a_page_shows_alarms_as_they_come(broker: AnyBroker, tmp_path: Path) -> None:
    arguments = ("home/+/alarm", "--port", "0", "--url", broker.url)
    with ExitStack() as browsers, running(tmp_path, "server_to_human", *arguments) as server:
        address = server.wait_for(r"^the page is at (http://127.0.0.1:\d+)$").group(1)
        with urlopen(address, timeout=PATIENCE_S) as page:
            assert b'new EventSource("/events")' in page.read()
        events = browsers.enter_context(urlopen(f"{address}/events", timeout=PATIENCE_S))  # still open on Ctrl-C
        broker.wait_for_subscription("home/+/alarm")
        broker.publish("home/hall/alarm", b"somebody moves\nin the hall", qos=1)
        line = next(line.decode() for line in events if line.startswith(b"data"))
        assert line == 'data: {"topic": "home/hall/alarm", "text": "somebody moves\\nin the hall"}\n'
