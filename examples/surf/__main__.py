"""What does a person type? `python -m examples.surf` for a whole heat, or one part of it by its name."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import tempfile
import time
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import Any, cast

import click
import msgspec

from examples.ending import until_told
from examples.mistakes import OneLine, listen
from examples.surf.board import run_boards
from examples.surf.heat import FILE, SURFERS_MAXIMUM, Heat, HeatError, LinkName
from examples.surf.history import History
from examples.surf.link import WEATHER
from examples.surf.replay import read, replay
from examples.surf.scoring import serve as score
from examples.surf.spectators import COUNT_MAXIMUM, measure
from examples.surf.stage import Part, new_heat, parts, running, write_broker_files
from tidewire import TidewireError

LINKS = click.Choice(list(WEATHER))
LINK = click.option("--link", type=LINKS, default="flaky", show_default=True, help="How boards are connected.")
SEED = click.option("--seed", type=int, help="Of all that is simulated.  [default: another one each time]")
AT = click.option(
    "--directory", "-d", type=click.Path(path_type=Path, file_okay=False), required=True, help="Where the heat lies."
)
PORT = click.option("--port", type=click.IntRange(0, 65_535), default=0, help="Of the page.  [default: any free one]")
RECORDING = click.option(
    "--replay", "recording", type=click.Path(path_type=Path, dir_okay=False), help="Play a recording, simulate nothing."
)


@click.group(cls=OneLine, invoke_without_command=True)
@click.option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the heat lies; one that is there goes on.  [default: a new one below build/surf]",
)
@click.option("--surfers", type=click.IntRange(1, SURFERS_MAXIMUM), default=6, show_default=True)
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=20.0, show_default=True, help="Length of the heat.")
@click.option("--pace", type=click.FloatRange(0.1, 60), default=1.0, help="2 is twice as fast.  [default: 1]")
@SEED
@LINK
@RECORDING
@PORT
@click.option(
    "--url", default="", help="mqtt(s)://[USER:PASSWORD@]HOST[:PORT] of a broker of yours, in place of our own."
)
@click.option("--websocket", default="", help="ws(s)://HOST[:PORT][/PATH] of that broker, for the page.")
@click.option(
    "--cloud", default="", help="mqtt(s)://HOST[:PORT] of a provider that gets all that is public, by a bridge."
)
@click.option("--cloud-user", default="", help="The user there; the password is $SURF_CLOUD_PASSWORD.")
@click.pass_context
def surf(
    context: click.Context,
    directory: Path | None,
    surfers: int,
    minutes: float,
    pace: float,
    seed: int | None,
    link: str,
    recording: Path | None,
    port: int,
    url: str,
    websocket: str,
    cloud: str,
    cloud_user: str,
) -> None:
    """A surfing heat, watched live: broker, boards, judges and the page. Ctrl-C ends it, and writes the report."""
    if context.invoked_subcommand is not None:
        return
    if (url == "") != (websocket == ""):
        raise HeatError("a broker of yours needs both: --url for boards and judges, --websocket for the page")
    if url and cloud:
        raise HeatError("--cloud is a bridge of our own broker; configure it in yours, or leave --url out")
    if recording is not None:
        next(read(recording), None)  # a file that cannot be read is found out before anything runs
    with listen(port, "--port") as opened:  # before anything is written
        if directory is not None and (directory / FILE).exists():
            heat = Heat.read(directory)
        else:
            directory = directory or Path("build", "surf", time.strftime("%Y%m%d-%H%M%S"))
            seed = SystemRandom().randrange(10_000) if seed is None else seed
            heat = new_heat(directory, surfers, seed, minutes, pace, cast(LinkName, link), url, websocket)
        boards = ["boards", *(["--replay", str(recording)] if recording is not None else [])]
        _run(_whole(heat, directory, not url, boards, opened, cloud, cloud_user))


async def _whole(
    heat: Heat,
    directory: Path,
    own_broker: bool,
    boards: list[str],
    opened: socket.socket,
    cloud: str,
    cloud_user: str,
) -> None:
    from examples.surf import page, report  # noqa: PLC0415 (the only part that needs Starlette)

    broker = write_broker_files(heat, directory, page.address(opened), cloud, cloud_user) if own_broker else None
    try:
        async with running(parts(directory, broker, boards)):
            async with heat.client("operator", session_expiry=0, retry_first_connect=own_broker):
                pass  # the broker is there
            print(f"{heat.id} in {directory}, seed {heat.seed}, link {heat.link}; Ctrl-C ends it")
            print(page.address(opened), flush=True)
            await page.serve(page.application(heat, directory), opened)
    finally:
        report.write_report(heat.id, directory)
        print(f"surf: {directory}/report.svg and rides.csv are written", file=sys.stderr)


@surf.command()
@AT
@RECORDING
def boards(directory: Path, recording: Path | None) -> None:
    """The boards of a heat, each on its link, or a recording in place of them."""
    heat = Heat.read(directory)
    _run(replay(heat, recording) if recording is not None else run_boards(heat, directory))


@surf.command()
@AT
@click.option("--judge", default="judge-1", show_default=True, help="Its name; each that runs needs its own.")
def scoring(directory: Path, judge: str) -> None:
    """A scoring service; start as many as you like, and kill any of them."""
    with History(directory / "rides.db") as history:
        _run(score(Heat.read(directory), history, judge))


@surf.command()
@AT
@PORT
def page(directory: Path, port: int) -> None:
    """The page alone. Its address has to be among the broker's `origins`, if it has any."""
    from examples.surf import page  # noqa: PLC0415

    with listen(port, "--port") as opened:
        print(page.address(opened), flush=True)
        _run(page.serve(page.application(Heat.read(directory), directory), opened))


@surf.command()
@AT
def report(directory: Path) -> None:
    """Write report.svg and rides.csv, of a heat that is over or goes on."""
    from examples.surf.report import write_report  # noqa: PLC0415

    write_report(Heat.read(directory).id, directory)


@surf.command()
@LINK
@click.option("--seed", type=int, default=1, show_default=True, help="Of the faults.")
def weather(link: str, seed: int) -> None:
    """What each QoS delivers on a link, what it costs and what is lost, in one table."""
    from examples.surf.weather import show  # noqa: PLC0415

    click.echo(asyncio.run(show(cast(LinkName, link), seed)))


@surf.command()
@click.option("--directory", "-d", type=click.Path(path_type=Path, file_okay=False), help="Of a heat that runs.")
@click.option("--count", type=click.IntRange(1, COUNT_MAXIMUM), default=300, show_default=True)
@click.option("--updates", type=click.IntRange(1, 100_000), default=100, show_default=True)
@click.option("--every", type=click.FloatRange(0.001, 60), default=0.1, show_default=True, help="Seconds.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="A file for the figures, as JSON.")
def spectators(directory: Path | None, count: int, updates: int, every: float, output: Path | None) -> None:
    """How long updates take to so many spectators; with a broker of its own, unless a heat is named."""

    async def watch() -> None:
        with tempfile.TemporaryDirectory() as temporary:
            own = Path(temporary)
            heat = Heat.read(directory) if directory else new_heat(own, 1, 0, 1, 1, "good", "", "")
            started = [] if directory else [Part("broker", write_broker_files(heat, own))]
            async with running(started):
                measured = await measure(heat, count, updates, every)
        data = msgspec.json.format(msgspec.json.encode(measured))
        if output is not None:
            output.write_bytes(data + b"\n")
        click.echo(data)
        if measured.received < count * updates:
            raise HeatError(
                f"{count * updates - measured.received} updates did not arrive; take fewer, or a larger --every"
            )

    _run(watch())


def _run(part: Coroutine[Any, Any, None]) -> None:
    """Run a part until it ends or is told to."""
    with suppress(asyncio.CancelledError):
        asyncio.run(until_told(part))


def main() -> None:
    """Run the command; what went wrong is one line."""
    logging.basicConfig(format="surf: %(message)s")
    logging.getLogger("tidewire").setLevel(logging.ERROR)  # that links break is what the weather is for
    failure: Exception | None = None
    try:
        surf(prog_name="python -m examples.surf")
    except* (HeatError, TidewireError) as group:
        failure = group
    while isinstance(failure, ExceptionGroup):
        failure = failure.exceptions[0]
    if failure is not None:
        sys.exit(f"surf: {failure}")


if __name__ == "__main__":
    main()
