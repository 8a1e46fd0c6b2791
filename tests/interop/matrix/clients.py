"""Which clients are there, what do they speak, and how are they built and called?"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FOLDERS: Final = Path(__file__).parent.parent / "clients"

TRANSPORTS: Final = {"mqtt": "TCP", "mqtts": "TLS", "ws": "WebSocket", "wss": "WebSocket, TLS"}
"""The scheme of the URL, and what people call it."""

ALL: Final = tuple(TRANSPORTS)
SOCKETS: Final = ("mqtt", "mqtts")
WEBSOCKETS: Final = ("ws", "wss")
BOTH: Final = ("3.1.1", "5.0")


@dataclass(frozen=True)
class OtherClient:
    """One library, and the program in `tests/interop/clients` that uses it."""

    name: str
    library: str
    """What it is called where it is distributed, with the version that the folder pins."""
    folder: str
    run: tuple[str | Path, ...]
    """The command, in the folder where it was built; the words of the contract follow."""
    transports: tuple[str, ...] = ALL
    versions: tuple[str, ...] = BOTH
    build: tuple[tuple[str, ...], ...] = ()
    """The commands that build it, in a copy of its folder."""
    tools: dict[str, str] = field(default_factory=dict)
    """Commands and header files that have to be there, each with what Debian's package is called."""

    def missing(self) -> list[str]:
        """The packages of what this machine lacks."""
        return [
            package
            for tool, package in self.tools.items()
            if not (Path("/usr/include", tool).exists() if tool.endswith(".h") else shutil.which(tool))
        ]


PYTHON: Final = (sys.executable, "program.py")
PAGE: Final = (sys.executable, FOLDERS / "browser.py")
NPM: Final = (("npm", "ci", "--no-audit", "--no-fund", "--silent"),)
NODE_TOOLS: Final = {"node": "nodejs", "npm": "npm"}
PAGE_TOOLS: Final = NODE_TOOLS | {"chromium": "chromium"}
MAVEN: Final = (("mvn", "-q", "-B", "package"),)
JAVA: Final = ("java", "-cp", "target/interop.jar:target/libraries/*", "Program")
JAVA_TOOLS: Final = {"java": "default-jdk-headless", "mvn": "maven"}

CLIENTS: Final = (
    OtherClient("mosquitto_pub, mosquitto_sub", "mosquitto-clients (Debian)", "mosquitto", PYTHON, SOCKETS,
                tools={"mosquitto_sub": "mosquitto-clients"}),
    OtherClient("Paho Python", "paho-mqtt 2.2.0", "paho_python", PYTHON),
    OtherClient("aiomqtt", "aiomqtt 2.5.1", "aiomqtt", PYTHON),
    OtherClient("gmqtt", "gmqtt 0.8.0", "gmqtt", PYTHON, SOCKETS),
    OtherClient("MQTT.js, Node", "mqtt 5.16.0", "mqtt_js", ("node", "program.js"), build=NPM, tools=NODE_TOOLS),
    OtherClient("MQTT.js, Chromium", "mqtt 5.16.0", "mqtt_js", (*PAGE, "node_modules/mqtt/dist/mqtt.min.js"),
                WEBSOCKETS, build=NPM, tools=PAGE_TOOLS),
    OtherClient("Paho JavaScript, Node", "paho-mqtt 1.1.0", "paho_js", ("node", "program.js"),
                WEBSOCKETS, ("3.1.1",), build=NPM, tools=NODE_TOOLS),
    OtherClient("Paho JavaScript, Chromium", "paho-mqtt 1.1.0", "paho_js",
                (*PAGE, "node_modules/paho-mqtt/paho-mqtt-min.js"), WEBSOCKETS, ("3.1.1",),
                build=NPM, tools=PAGE_TOOLS),
    OtherClient("Paho Go", "paho.mqtt.golang v1.5.1", "paho_go_3", ("./program",), versions=("3.1.1",),
                build=(("go", "build", "-o", "program", "."),), tools={"go": "golang"}),
    OtherClient("Paho Go, autopaho", "paho.golang v0.23.0", "paho_go_5", ("./program",), versions=("5.0",),
                build=(("go", "build", "-o", "program", "."),), tools={"go": "golang"}),
    OtherClient("Paho C", "libpaho-mqtt-dev (Debian)", "paho_c", ("./program",),
                build=(("cc", "-Wall", "-o", "program", "program.c", "-lpaho-mqtt3cs"),),
                tools={"cc": "gcc", "MQTTClient.h": "libpaho-mqtt-dev"}),
    OtherClient("Paho C++", "libpaho-mqttpp-dev (Debian)", "paho_cpp", ("./program",),
                build=(("c++", "-Wall", "-o", "program", "program.cpp", "-lpaho-mqttpp3", "-lpaho-mqtt3as"),),
                tools={"c++": "g++", "mqtt/async_client.h": "libpaho-mqttpp-dev"}),
    OtherClient("Paho Java", "org.eclipse.paho.client.mqttv3 1.2.5", "paho_java_3", JAVA, versions=("3.1.1",),
                build=MAVEN, tools=JAVA_TOOLS),
    OtherClient("Paho Java, MQTT 5", "org.eclipse.paho.mqttv5.client 1.2.5", "paho_java_5", JAVA, versions=("5.0",),
                build=MAVEN, tools=JAVA_TOOLS),
    OtherClient("HiveMQ Java", "hivemq-mqtt-client 1.4.2", "hivemq", JAVA, build=MAVEN, tools=JAVA_TOOLS),
    OtherClient("rumqttc", "rumqttc 0.25.1", "rumqttc", ("target/release/interop",),
                build=(("cargo", "build", "--release", "--quiet"),), tools={"cargo": "cargo"}),
)  # fmt: skip
