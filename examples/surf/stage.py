"""What has to run for a heat? A broker, the boards, two judges and the page, each started again when it falls."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import subprocess
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from examples.mistakes import HOST
from examples.surf.heat import NAMES, Heat, HeatError, LinkName, write_private
from examples.surf.history import History
from examples.surf.messages import PUBLIC

GRACE_S: Final = 5.0
"""How long a part may take to end."""
AGAIN_S: Final = 0.5
"""Before a part that was killed is started again: what kills it may do so again, and must not keep the machine busy."""

RULES: Final = """
[access]
password_file = {passwords}
anonymous = true

[[access.rules]]  # spectators, and everybody else
effect = "allow"
action = "subscribe"
topic = "{public}"

[[access.rules]]  # a board speaks for its own surfer only: %u is its user name
effect = "allow"
action = "publish"
topic = "surf/public/boards/%u/#"

[[access.rules]]
effect = "allow"
action = "publish"
topic = "surf/rides/%u"

[[access.rules]]
effect = "allow"
user = "scoring"
topic = "surf/#"

[[access.rules]]
effect = "allow"
user = "operator"
topic = "surf/#"
"""

BRIDGE: Final = """
[[bridge]]  # whoever watches from far away does so in the cloud
name = "cloud"
url = {url}
client_id = "{identifier}"
topics = [{{ filter = "{public}", direction = "out", qos = 1 }}]
"""

CLOUD_LOGIN: Final = """user_name = {user}
password_variable = "SURF_CLOUD_PASSWORD"
"""


def new_heat(
    directory: Path, surfers: int, seed: int, minutes: float, pace: float, link: LinkName, url: str, websocket: str
) -> Heat:
    """A heat that begins now, in a directory of its own. Raises HeatError."""
    names = [NAMES[n % len(NAMES)] + (f"-{n // len(NAMES) + 1}" if n >= len(NAMES) else "") for n in range(surfers)]
    passwords = {} if url else {user: secrets.token_urlsafe(16) for user in [*names, "scoring", "operator"]}
    began = time.time()
    if not url:
        mqtt, web = free_ports(2)
        url, websocket = f"mqtt://{HOST}:{mqtt}", f"ws://{HOST}:{web}/mqtt"
    identifier = f"heat-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(began))}"
    heat = Heat(identifier, url, websocket, names, seed, link, began, minutes * 60, pace, passwords)
    _ = heat.address
    try:
        directory.mkdir(parents=True, exist_ok=True)
        heat.write(directory)
    except OSError as error:
        raise HeatError(f"{error.filename}: {error.strerror}; name another --directory") from None
    with History(directory / "rides.db"):
        pass  # made here, so that two judges do not make it at the same time
    return heat


def write_broker_files(heat: Heat, directory: Path, page: str = "", cloud: str = "", cloud_user: str = "") -> list[str]:
    """Configuration and passwords for `tidewire serve`; the command that starts it.

    Of all pages only `page` may open WebSockets, if it is named; `cloud` is the URL of the bridge's other end.
    """
    directory = directory.resolve()
    passwords = directory / "passwords"
    web_port = heat.websocket.rpartition(":")[2].partition("/")[0]
    # JSON strings are TOML strings.
    text = f'bind = ["{HOST}"]\nport = {heat.address[1]}\ndata = {json.dumps(f"{directory}/broker")}\n'
    text += f'\n[[listener]]\nbind = ["{HOST}"]\nport = {web_port}\nprotocol = "websocket"\n'
    text += f'origins = ["{page}"]\n' if page else ""
    text += RULES.format(public=PUBLIC, passwords=json.dumps(str(passwords)))
    if cloud:
        text += BRIDGE.format(url=json.dumps(cloud), identifier=heat.id, public=PUBLIC)
        text += CLOUD_LOGIN.format(user=json.dumps(cloud_user)) if cloud_user else ""
    write_private(passwords, "".join(f"{user}:{word}\n" for user, word in heat.passwords.items()).encode())
    subprocess.run(
        [sys.executable, "-m", "tidewire", "passwd", "-U", str(passwords)], check=True, stdout=subprocess.DEVNULL
    )
    (directory / "broker.toml").write_text(text, encoding="utf-8")
    return ["tidewire", "serve", "--config", str(directory / "broker.toml"), "--log-level", "warning"]


class Part:
    """A program that belongs to the heat, run as `python -m …`."""

    def __init__(self, name: str, command: Iterable[str], ended: str = "") -> None:
        self.name = name
        self._command = (sys.executable, "-m", *command)
        self._ended = ended
        """What it means when it ends well by itself."""
        self._process: Process | None = None

    async def keep(self) -> None:
        """Run it until it ends well; start it again when it was killed. When cancelled, end it by its process number.

        Raises HeatError when it ends by itself with an error, which it has told: so it would again.
        """
        try:
            while True:
                self._process = process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for us: what ends, ends in our order
                )
                status = await process.wait()
                if status == 0:
                    if self._ended:
                        _tell(self._ended)
                    return
                if status > 0:
                    raise HeatError(f"{self.name} ended with status {status}; what it said stands above")
                _tell(f"{self.name} was killed by signal {-status}; again")
                await asyncio.sleep(AGAIN_S)
        finally:
            await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(GRACE_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def parts(directory: Path, broker: list[str] | None, boards: list[str]) -> list[Part]:
    """All but the page, in the order in which they are started; they end the other way round."""
    at = ["--directory", str(directory)]
    judges = [Part(f"judge {n}", ["examples.surf", "scoring", "--judge", f"judge-{n}", *at]) for n in (1, 2)]
    own = [Part("broker", broker)] if broker is not None else []
    over = "the heat is over; Ctrl-C ends the page, and writes the report"
    return [*own, *judges, Part("boards", ["examples.surf", *boards, *at], over)]


@asynccontextmanager
async def running(started: Sequence[Part]) -> AsyncIterator[None]:
    """Keep these parts running inside the block; they end in the opposite order. Raises HeatError, in a group."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.keep(), name=part.name) for part in started]
        try:
            yield
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait([task])


def _tell(what: str) -> None:
    print(f"surf: {what}", file=sys.stderr, flush=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
