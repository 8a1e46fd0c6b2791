"""Do MQTT.js in Node and in a page of a real browser work over `ws://` and `wss://`?

MQTT.js comes from npm, once, into build/npm. What is not here is skipped by name.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic
from typing import Final

import pytest

from tests.process import PATIENCE_S, BrokerProcess
from tidewire.server.certificate_directory import CertificateDirectory

MQTT_JS: Final = "mqtt@5.16.0"
NPM: Final = Path(__file__).parents[2] / "build" / "npm"
INSTALL_S: Final = 300.0
"""How long npm may take on a slow network."""

LOOK_S: Final = 1.0
"""How often a browser that says nothing is looked at, whether it still runs."""

PROGRAMS: Final = Path(__file__).parent / "programs"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")

ARRIVES: Final = [
    "retained qos=1 retain=true",
    "at 0 qos=0 retain=false",
    "at 1 qos=1 retain=false",
    "at 2 qos=2 retain=false",
    "large qos=1 retain=false",
]


@pytest.fixture(scope="module")
def mqtt_js() -> Path:
    """The folder of MQTT.js."""
    folder = NPM / "node_modules" / "mqtt"
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("MQTT.js is not here, and there is no npm to install it with")
        NPM.mkdir(parents=True, exist_ok=True)
        command = [npm, "install", "--no-audit", "--no-fund", "--prefix", NPM, MQTT_JS]
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            pytest.skip(f"MQTT.js cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return folder


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateDirectory:
    place = CertificateDirectory(tmp_path_factory.mktemp("browsers") / "certs")
    place.make(["localhost"], (), 2, "ec", datetime.now(UTC))
    return place


class Pages:
    """A web server for one page, that hears what the page has to tell."""

    def __init__(self, mqtt_js: Path) -> None:
        self.told: queue.Queue[str] = queue.Queue()
        files = {
            "/": PROGRAMS / "mqttjs_page.html",
            "/mqttjs_work.js": PROGRAMS / "mqttjs_work.js",
            "/mqtt.min.js": mqtt_js / "dist" / "mqtt.min.js",
        }
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                file = files.get(self.path)
                self.send_response(200 if file else 404)
                self.send_header("Content-Type", "text/javascript" if self.path.endswith(".js") else "text/html")
                self.end_headers()
                if file:
                    self.wfile.write(file.read_bytes())

            def do_POST(self) -> None:
                told.put(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def pages(mqtt_js: Path) -> Iterator[Pages]:
    pages = Pages(mqtt_js)
    yield pages
    pages.close()


@pytest.fixture(scope="module")
def urls(
    certificates: CertificateDirectory, pages: Pages, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The broker's listeners by name; "closed" is for the pages of another site."""
    config = tmp_path_factory.mktemp("broker") / "broker.toml"
    tls = f'[listener.tls]\ncertificate = "{certificates.file("server")}"\nkey = "{certificates.key_file("server")}"\n'
    listener = '[[listener]]\nbind = ["127.0.0.1"]\nport = 0\nprotocol = "websocket"\n'
    here, elsewhere = f'origins = ["{pages.origin}"]\n', 'origins = ["https://example.org"]\n'
    config.write_text(f"bind = []\n{listener}{here}{listener}{here}{tls}{listener}{elsewhere}")
    with BrokerProcess("--config", config) as broker:
        ports = [address.rpartition(":")[2] for address in broker.addresses]
        yield {
            "ws": f"ws://127.0.0.1:{ports[0]}",
            "wss": f"wss://localhost:{ports[1]}",
            "closed": f"ws://127.0.0.1:{ports[2]}",
        }
        assert "internal error" not in broker.log


@pytest.fixture(scope="module")
def show(pages: Pages, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Open the page in a browser, connecting to this URL, and wait for what it tells."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium here; on Debian: apt install chromium")

    def open_page(url: str, version: int = 5) -> str:
        profile = tmp_path_factory.mktemp("profile")
        # The sandbox needs rights that a container has not; what is shown is our own page.
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--ignore-certificate-errors"]
        address = f"{pages.origin}/#{url}%20{version}"
        with (profile / "log").open("wb") as log:
            command = [browser, *flags, f"--user-data-dir={profile}", address]
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
            try:
                deadline = monotonic() + PATIENCE_S
                while process.poll() is None and monotonic() < deadline:
                    with contextlib.suppress(queue.Empty):
                        return pages.told.get(timeout=LOOK_S)
                raise AssertionError((profile / "log").read_text(errors="replace"))
            finally:
                os.killpg(process.pid, signal.SIGKILL)  # with all its helpers
                process.wait()

    return open_page


@pytest.mark.parametrize("way", ["ws", "wss"])
@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_js_works_in_node(
    urls: dict[str, str], certificates: CertificateDirectory, mqtt_js: Path, way: str, version: int
) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node")
    environment = os.environ | {
        "NODE_PATH": str(mqtt_js.parent),
        "NODE_EXTRA_CA_CERTS": str(certificates.file("ca")),
    }
    command = [node, PROGRAMS / "mqttjs_node.js", f"{urls[way]}", str(version)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ARRIVES


@pytest.mark.parametrize("way", ["ws", "wss"])
@pytest.mark.parametrize("version", [4, 5])
def test_mqtt_js_works_in_a_page(urls: dict[str, str], show: Callable[..., str], way: str, version: int) -> None:
    assert show(urls[way], version).splitlines() == ARRIVES


def test_a_page_of_another_origin_is_kept_out(urls: dict[str, str], show: Callable[..., str]) -> None:
    assert show(urls["closed"]).startswith("failed: ")
