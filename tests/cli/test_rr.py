"""Does `tidewire rr` ask and print the answer as mosquitto_rr does?"""

from __future__ import annotations

import json
import re

import click
import pytest

from tests.cli.mosquitto import Clients, installed
from tests.cli.running import Running
from tests.process import BrokerProcess, tidewire
from tidewire.cli.rr import rr
from tidewire.wire import properties as p
from tidewire.wire.codes import PUBACK
from tidewire.wire.packets import Acknowledgement, Publish


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("version", ["311", "5"])
def test_the_request_names_where_the_answer_goes_and_the_answer_is_printed(
    broker: BrokerProcess, topic: str, version: str, qos: int
) -> None:
    flags = ("-t", f"{topic}/ask", "-e", f"{topic}/answer", "-m", "state?", "-q", str(qos), "-V", version)
    with broker.connect(f"lamp {topic}", version=5) as lamp:
        lamp.subscribe(f"{topic}/ask", 1)
        with Running("rr", "-p", str(broker.port), *flags, "--plain", "-v", "-W", "30") as requester:
            request = lamp.receive()
            assert isinstance(request, Publish)
            if qos:
                lamp.send(Acknowledgement(PUBACK, request.packet_identifier))
            assert (request.payload, request.qos) == (b"state?", qos)
            response_topic = request.properties.texts.get(p.RESPONSE_TOPIC)
            assert response_topic == (f"{topic}/answer" if version == "5" else None)
            lamp.publish(f"{topic}/answer", b"on")
            assert requester.end() == 0
            assert requester.output == f"{topic}/answer on\n"


@installed
@pytest.mark.parametrize("flags", [[], ["-v"], ["-N"], ["-F", "%t %x %r"]], ids=" ".join)
def test_a_retained_answer_is_printed_as_mosquitto_does(clients: Clients, topic: str, flags: list[str]) -> None:
    clients.publish("-t", topic, "-m", "on", "-r")
    theirs, ours = clients.both("rr", "-t", f"{topic}/ask", "-e", topic, "-n", *flags)
    assert ours == theirs
    assert ours[0] == 0


def test_a_retained_message_is_no_answer_with_minus_R(broker: BrokerProcess, topic: str) -> None:
    with broker.connect("retaining") as lamp:
        lamp.send(Publish(topic.encode(), b"old", retain=True))
    run = tidewire("rr", "-p", str(broker.port), "-t", f"{topic}/ask", "-e", topic, "-m", "x", "-R", "-W", "1")
    assert (run.returncode, run.stdout) == (27, "")


def test_no_answer_in_time_ends_with_27(broker: BrokerProcess, topic: str) -> None:
    run = tidewire("rr", "-p", str(broker.port), "-t", topic, "-e", f"{topic}/answer", "-m", "x", "-W", "1")
    assert (run.returncode, run.stdout, run.stderr) == (27, "", "tidewire: timed out\n")


def test_into_a_pipe_goes_a_json_line(broker: BrokerProcess, topic: str) -> None:
    with broker.connect("retaining") as lamp:
        lamp.send(Publish(topic.encode(), b"[1, 2]", retain=True))
    flags = ("-p", str(broker.port), "-t", f"{topic}/ask", "-e", topic, "-n")
    assert json.loads(tidewire("rr", *flags).stdout)["payload"] == "[1, 2]"
    assert json.loads(tidewire("rr", *flags, "--decode", "json").stdout)["payload"] == [1, 2]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-e", "b", "-m", "x"], "say where to publish the request: -t TOPIC"),
        (["-t", "a", "-m", "x"], "say where the answer comes: -e TOPIC"),
        (["-t", "a", "-e", "b"], "say what to send, and only once"),
        (["-t", "a", "-e", "b/#", "-m", "x"], "must not contain a wildcard"),
        (["-t", "a", "-e", "b", "-m", "x", "-D", "publish", "response-topic", "c"], "-e is the response topic"),
        (["-t", "a", "-e", "b", "-l"], "No such option '-l'"),
    ],
)
def test_a_wrong_command_line_is_refused_with_the_mend(flags: list[str], said: str) -> None:
    with pytest.raises(click.UsageError) as refusal:
        rr.main(flags, standalone_mode=False)
    assert said in refusal.value.format_message()


def test_the_help_has_examples_and_every_flag_of_the_manual_page() -> None:
    text = tidewire("rr", "--help").stdout
    assert "tidewire rr -t lamp/1/ask -e lamp/1/answer -m state" in text
    manual = (
        "-A -c --disable-clean-session --cafile --capath --cert --ciphers -d --debug -D --property -e -f --file -F "
        "--help -h --host -i --id -I --id-prefix --insecure -k --keepalive --key --keyform -L --url -m --message -N -n "
        "--null-message --nodelay -p --port -P --pw --pretty --proxy --psk --psk-identity -q --qos --quiet -R -S -s "
        "--stdin-file -t --topic --tls-alpn --tls-engine --tls-engine-kpass-sha1 --tls-use-os-certs --tls-version -u "
        "--username --unix -v --verbose -V --protocol-version -W --will-payload --will-qos --will-retain --will-topic "
        "-x"
    )
    assert set(manual.split()) <= set(re.findall(r"(?<!\w)--?\w[\w-]*", text))
