"""Do mosquitto_pub and mosquitto_sub work as they are, in every version and quality of service?"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.process import PATIENCE_S

VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
QOS = [0, 1, 2]
READY = "ready"
"""A retained message that a subscriber prints as soon as it has subscribed."""

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto_pub") and shutil.which("mosquitto_sub")),
    reason="mosquitto_pub and mosquitto_sub are not installed; on Debian: apt install mosquitto-clients",
)


class Mosquitto:
    """The commands, against one broker."""

    def __init__(self, port: int) -> None:
        self._port = str(port)
        self._subscribers: list[subprocess.Popen[str]] = []

    def publish(self, version: str, topic: str, *arguments: str, stdin: str = "") -> None:
        subprocess.run(
            ["mosquitto_pub", "-p", self._port, "-h", "127.0.0.1", "-V", version, "-t", topic, *arguments],
            input=stdin,
            check=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def subscribe(self, version: str, *arguments: str) -> subprocess.Popen[str]:
        """A subscriber that prints "topic qos retain payload"."""
        command = ["mosquitto_sub", "-p", self._port, "-h", "127.0.0.1", "-V", version, "-F", "%t %q %r %p"]
        process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, bufsize=1)
        self._subscribers.append(process)
        return process

    def subscribe_and_wait(self, version: str, topic: str, *arguments: str) -> subprocess.Popen[str]:
        """The same below `topic`, once it has subscribed."""
        self.publish(version, f"{topic}/{READY}", "-r", "-m", READY)
        process = self.subscribe(version, "-t", f"{topic}/#", *arguments)
        assert process.stdout is not None
        assert process.stdout.readline() == f"{topic}/{READY} 0 1 {READY}\n"
        return process

    def end(self) -> None:
        for process in self._subscribers:
            process.kill()
            process.communicate()


@pytest.fixture
def mosquitto(port: int) -> Iterator[Mosquitto]:
    commands = Mosquitto(port)
    yield commands
    commands.end()


def output(process: subprocess.Popen[str]) -> list[str]:
    """What it printed until its end."""
    printed, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return printed.splitlines()


@pytest.mark.parametrize("publisher", VERSIONS)
@pytest.mark.parametrize("subscriber", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_every_version_talks_to_every_other(
    mosquitto: Mosquitto, topic: str, publisher: str, subscriber: str, qos: int
) -> None:
    waiting = mosquitto.subscribe_and_wait(subscriber, topic, "-q", str(qos), "-C", "101")
    mosquitto.publish(publisher, f"{topic}/a", "-q", str(qos), "-l", stdin="".join(f"{n}\n" for n in range(100)))
    assert output(waiting) == [f"{topic}/a {qos} 0 {n}" for n in range(100)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("sent", "granted"), [(sent, granted) for sent in QOS for granted in QOS])
def test_the_lower_quality_of_service_is_what_is_delivered(
    mosquitto: Mosquitto, topic: str, version: str, sent: int, granted: int
) -> None:
    waiting = mosquitto.subscribe_and_wait(version, topic, "-q", str(granted), "-C", "2")
    mosquitto.publish(version, f"{topic}/a", "-q", str(sent), "-m", "x")
    assert output(waiting) == [f"{topic}/a {min(sent, granted)} 0 x"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_the_last_retained_message_is_there_for_whoever_comes_until_it_is_cleared(
    mosquitto: Mosquitto, topic: str, version: str, qos: int
) -> None:
    for payload in ("first", "last"):
        mosquitto.publish(version, f"{topic}/a", "-q", str(qos), "-r", "-m", payload)
    printed = output(mosquitto.subscribe(version, "-t", f"{topic}/+", "-q", "2", "-C", "1"))
    assert printed == [f"{topic}/a {qos} 1 last"]
    mosquitto.publish(version, f"{topic}/a", "-q", str(qos), "-r", "-n")
    mosquitto.publish(version, f"{topic}/b", "-r", "-m", "other")
    printed = output(mosquitto.subscribe(version, "-t", f"{topic}/+", "-C", "1"))
    assert printed == [f"{topic}/b 0 1 other"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", QOS)
def test_the_will_of_a_client_that_dies_is_published(mosquitto: Mosquitto, topic: str, version: str, qos: int) -> None:
    watcher = mosquitto.subscribe_and_wait(version, topic, "-q", "2", "-C", "2")
    will = ["--will-topic", f"{topic}/will", "--will-payload", "gone", "--will-qos", str(qos)]
    mosquitto.subscribe_and_wait(version, f"{topic}-doomed", *will).kill()
    assert output(watcher) == [f"{topic}/will {qos} 0 gone"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_retained_will_stays(mosquitto: Mosquitto, topic: str, version: str) -> None:
    watcher = mosquitto.subscribe_and_wait(version, topic, "-C", "2")
    will = ["--will-topic", f"{topic}/will", "--will-payload", "gone", "--will-retain"]
    mosquitto.subscribe_and_wait(version, f"{topic}-doomed", *will).kill()
    assert output(watcher) == [f"{topic}/will 0 0 gone"]
    assert output(mosquitto.subscribe(version, "-t", f"{topic}/will", "-C", "1")) == [f"{topic}/will 0 1 gone"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("qos", [1, 2])
def test_a_session_keeps_what_comes_while_its_client_is_away(
    mosquitto: Mosquitto, topic: str, version: str, qos: int
) -> None:
    identifier = f"{version}-{qos}"
    session = ["-c", "-i", identifier, "-t", topic, "-q", str(qos)]
    assert output(mosquitto.subscribe(version, *session, "-E")) == []  # -E: subscribe and leave
    mosquitto.publish(version, topic, "-q", str(qos), "-l", stdin="".join(f"{n}\n" for n in range(50)))
    printed = output(mosquitto.subscribe(version, *session, "-C", "50"))
    assert printed == [f"{topic} {qos} 0 {n}" for n in range(50)]


def test_properties_of_a_message_travel_with_it(mosquitto: Mosquitto, topic: str) -> None:
    waiting = mosquitto.subscribe_and_wait("mqttv5", topic, "-C", "2", "-F", "%t %q %r %p%R%C%P")
    properties = ["response-topic", "answers"], ["content-type", "text/plain"], ["user-property", "one", "two"]
    flags = [word for words in properties for word in ("-D", "publish", *words)]
    mosquitto.publish("mqttv5", f"{topic}/a", "-m", "x", *flags)
    assert output(waiting) == [f"{topic}/a 0 0 xanswerstext/plainone:two"]


def test_one_subscriber_of_a_share_group_gets_each_message(mosquitto: Mosquitto, topic: str) -> None:
    shared = ["-t", f"$share/group/{topic}", "-C", "11"]
    both = [mosquitto.subscribe_and_wait("mqttv5", f"{topic}-{n}", *shared) for n in range(2)]
    mosquitto.publish("mqttv5", topic, "-l", stdin="".join(f"{n}\n" for n in range(20)))
    printed = [line for process in both for line in output(process)]
    assert sorted(int(line.split()[3]) for line in printed) == list(range(20))


@pytest.mark.skipif(not shutil.which("mosquitto_rr"), reason="mosquitto_rr is not installed")
def test_a_request_gets_its_response(mosquitto: Mosquitto, port: int, topic: str) -> None:
    responder = mosquitto.subscribe_and_wait("mqttv5", topic, "-C", "2", "-F", "%t %q %r %p%R")
    command = ["mosquitto_rr", "-h", "127.0.0.1", "-p", str(port), "-V", "mqttv5", "-t", f"{topic}/ask"]
    with subprocess.Popen(
        [*command, "-e", f"{topic}-answer", "-m", "question:"], stdout=subprocess.PIPE, text=True
    ) as asking:
        assert output(responder) == [f"{topic}/ask 0 0 question:{topic}-answer"]
        mosquitto.publish("mqttv5", f"{topic}-answer", "-m", "42")
        assert output(asking) == ["42"]


def test_a_large_payload_arrives_whole(mosquitto: Mosquitto, topic: str) -> None:
    waiting = mosquitto.subscribe_and_wait("mqttv311", topic, "-q", "1", "-C", "2")
    payload = "0123456789" * 100_000
    mosquitto.publish("mqttv5", f"{topic}/a", "-q", "1", "-s", stdin=payload)
    assert output(waiting) == [f"{topic}/a 1 0 {payload}"]
