"""What is typed into the shell, or saved as a program, for a block of a page? For tests/test_snippets.py, which has the
rules."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import sys
import textwrap
from ast import PyCF_ALLOW_TOP_LEVEL_AWAIT
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import msgspec

from tidewire.server.config import make_limits, read_config

ROOT: Final = Path(__file__).parent.parent

BENCH_S: Final = 0.2
"""How long `tidewire bench` measures here."""

SOLUTIONS: Final = {
    "make vehicle": "exec python -m examples.vehicle --page-port 0",
    "make surf": "exec python -m examples.surf",
}
"""What `make` would do, on any port."""

TYPED: Final = "secret\n" * 3
"""What every command reads that asks for a password, and for the same again."""

MAIN: Final = """\
import asyncio

async def main():
{}

try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
"""
"""Around a block that awaits outside of a function, as `python -m asyncio` lets one do."""

JAVA: Final = """\
import com.hivemq.client.mqtt.MqttGlobalPublishFilter;
import com.hivemq.client.mqtt.datatypes.MqttQos;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient;
import com.hivemq.client.mqtt.mqtt5.Mqtt5BlockingClient.Mqtt5Publishes;
import com.hivemq.client.mqtt.mqtt5.Mqtt5Client;
import java.util.List;
import java.util.concurrent.TimeUnit;

public class Page {{
    public static void main(String[] words) throws Exception {{
{}
    }}
}}
"""
"""Around a block of Java."""

JAVA_STARTS_SOON: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
JAVA_LIBRARIES: Final = ROOT / "build" / "interop" / "hivemq" / "target" / "libraries"

TOOLS: Final = {
    "mosquitto_pub": "mosquitto-clients",
    "mosquitto_sub": "mosquitto-clients",
    "keytool": "default-jdk-headless",
    "curl": "curl",
}
"""Commands of console blocks that not every machine has, and Debian's packages of them."""


def lacking(language: str, text: str) -> str:
    """What has to be installed before the block can be run; empty: nothing."""
    if language == "java":
        if shutil.which("java") is None:
            return "apt install default-jdk-headless"
        return "" if JAVA_LIBRARIES.is_dir() else "make interop ARGS='--only \"HiveMQ Java\"'"
    missing = [tool for tool in TOOLS if re.search(rf"^\$ (.*\| )?{tool} ", text, re.M) and not shutil.which(tool)]
    return f"apt install {TOOLS[missing[0]]}" if language == "console" and missing else ""


def command(language: str, text: str, name: str, folder: Path, ports: Mapping[str, int]) -> list[str]:
    """What runs the block `name` of a page in that folder. `ports`: of the page's broker by the scheme `mqtt`, of one
    that the page itself has started by `mqtts` and `http`, and by `served` where it speaks MQTT."""
    if language == "console":
        return ["bash", "-c", _script(text, folder, ports)]
    if language == "java":
        file = folder / "Page.java"
        file.write_text(JAVA.format(_to_ports(text, ports)), encoding="utf-8")
        return ["java", *JAVA_STARTS_SOON, "-cp", f"{JAVA_LIBRARIES}/*", str(file)]
    file = folder / f"test_{re.sub(r'[^a-z0-9]', '_', name)}.py"
    if "def test_" in text:
        file.write_text(text, encoding="utf-8")
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)]
    text = _to_ports(text, ports)
    code = compile(text, name, "exec", PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        text = MAIN.format(textwrap.indent(text, "    "))
    file.write_text(text, encoding="utf-8")
    return [sys.executable, str(file)]


def read_toml(text: str, folder: Path) -> None:
    """A configuration of the broker. Raises ConfigError."""
    file = folder / "broker.toml"
    file.write_text(text, encoding="utf-8")
    make_limits(read_config(file))


def read_json(text: str, _: Path) -> None:
    """JSON, a line each."""
    for line in text.splitlines():
        json.loads(line)


READERS: Final[Mapping[str, Callable[[str, Path], object]]] = {
    "toml": read_toml,
    "json": read_json,
    "xml": lambda text, _: ElementTree.fromstring(text),
    "yaml": lambda text, _: msgspec.yaml.decode(text),
}
"""Of these there is nothing to run: who reads them."""


def _to_ports(text: str, ports: Mapping[str, int]) -> str:
    """Where localhost is meant, the broker of the page is."""
    local = r"(?:localhost|127\.0\.0\.1)"
    port = ports["mqtt"]
    text = re.sub(rf"(mqtt://(?:[^\s/@\"']*@)?{local})(:1883)?(?![:\w.])", rf"\1:{port}", text)
    text = re.sub(rf'hostname="{local}"', rf"\g<0>, port={port}", text)
    text = re.sub(rf'connect\("{local}"(, 1883)?', rf'connect("localhost", {port}', text)
    text = text.replace('.serverHost("localhost")', f'.serverHost("localhost").serverPort({port})')
    if "mqtts" in ports:
        text = re.sub(r"mqtts://(localhost|broker\.example)(?![:\w.])", f"mqtts://localhost:{ports['mqtts']}", text)
        text = text.replace('"broker.example", 8883', f'"localhost", {ports["mqtts"]}')
    if "http" in ports:
        text = text.replace("http://127.0.0.1:9883", f"http://127.0.0.1:{ports['http']}")
        text = text.replace("top --token-file", f"top --admin http://127.0.0.1:{ports['http']} --token-file")
    if "served" in ports:
        text = text.replace("-h broker.example", f"-h 127.0.0.1 -p {ports['served']}")
    return text


def _script(text: str, folder: Path, ports: Mapping[str, int]) -> str:
    """The commands of a console block, each of which has to succeed."""
    commands = []
    for line in _to_ports(text, ports).splitlines():
        if not line.startswith("$ "):
            continue
        command = line.removeprefix("$ ")
        command = SOLUTIONS.get(command, command)
        command = re.sub(r"^make\b", f"make -n -C '{ROOT}'", command)
        command = command.replace("tidewire serve", "tidewire serve --port 0").replace("0.0.0.0", "127.0.0.1")
        command = command.replace("--console", "--console-port 0")
        if configured := re.search(r"tidewire serve .*--config (\S+)", command):
            _take_any_port(folder / configured[1])
        if not re.search(r" (-L|--url|--unix) ", command):
            command = _CLIENTS.sub(rf"\g<0> -p {ports['mqtt']}", command)
        command = _BENCH.sub(rf"\g<0> --duration {BENCH_S}", command)
        commands.append(f"{{ {command}\n}} <<< '{TYPED.strip()}' || exit\n")
    return "".join(commands)


_CLIENTS: Final = re.compile(r"\b(mosquitto_(pub|sub|rr)|tidewire (pub|sub|rr|record|replay|bench [a-z-]+))\b")
_BENCH: Final = re.compile(r"\btidewire bench [a-z-]+")


def _take_any_port(file: Path) -> None:
    """A port that a page names may be taken on this machine, and the network is none of a test's business."""
    text = re.sub(r"^port = \d+$", "port = 0", file.read_text(encoding="utf-8"), flags=re.M)
    text = text.replace("0.0.0.0", "127.0.0.1").replace("[admin]\n", "[admin]\nport = 0\n")
    file.write_text(text, encoding="utf-8")
