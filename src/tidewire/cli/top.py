"""`tidewire top`: the broker in one look, again and again."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tidewire.cli import exits
from tidewire.cli.command_line import option
from tidewire.cli.connection_options import Connection, connection_options
from tidewire.cli.numbers import grouped
from tidewire.cli.screen import printable

if TYPE_CHECKING:
    from tidewire.engine.received import Message
    from tidewire.server.admin_types import Overview

ADMIN_URL: Final = "http://127.0.0.1:9883"
"""Where `[admin]` serves unless it is told otherwise."""

ANSWER_BYTES: Final = 4 * 1024 * 1024
"""More is no overview."""

PATIENCE_S: Final = 10.0
"""How long the broker may take to answer."""

SETTLE_S: Final = 0.05
"""How long what the broker publishes at once may take to come."""

CELL: Final = 24
"""Columns of a figure with its name."""

_WHAT: Final = "What is shown"
_ADMIN: Final = "From the administration over HTTP"


@click.command()
@option(_WHAT, "--once", is_flag=True, help="Show it once.")
@option(_WHAT, "--json", "as_json", is_flag=True, help="As a line of JSON.")
@option(
    _WHAT,
    "--every",
    "every_s",
    type=click.FloatRange(0.1),
    default=1.0,
    metavar="SECONDS",
    help="How often, over HTTP. [default: 1]",
)
@option(_ADMIN, "--token-file", type=click.Path(path_type=Path), metavar="FILE", help="The token of [admin].")
@option(_ADMIN, "--admin", "admin_url", metavar="URL", help=f"Where it is. [default: {ADMIN_URL}]")
@connection_options
def top(
    connection: Connection, once: bool, as_json: bool, every_s: float, token_file: Path | None, admin_url: str | None
) -> None:
    """Show a broker's rates, connections, queues and drops, again and again.

    With a token it asks the administration over HTTP, else it subscribes to $SYS, as any client may that the access
    rules let; that has no processor, memory or listeners, and is as new as the broker's $SYS interval.

    \b
    Examples:
      tidewire top --token-file admin.token
      tidewire top -h broker.example -u alice -P secret --once
      tidewire top --token-file admin.token --once --json
    """
    if token_file is None and admin_url is not None:
        raise click.UsageError("--admin needs the token: add --token-file FILE")
    if token_file is not None:
        overviews = from_http(admin_url or ADMIN_URL, _token(token_file), connection.tls.cafile, every_s)
        where = admin_url or ADMIN_URL
    else:
        overviews = from_sys(connection)
        where = connection.url
    exits.run(_show(overviews, where, once, as_json))


async def _show(overviews: AsyncGenerator[Overview, None], where: str, once: bool, as_json: bool) -> int:
    """Print each; the status to end with."""
    show = _as_json if as_json else _lines(where)
    on_screen = not (once or as_json) and sys.stdout.isatty()
    try:
        async with aclosing(overviews):
            async for overview in overviews:
                text = show(overview)
                if on_screen:  # each line over the one before it, and nothing below them
                    text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
                click.echo(text, nl=False)
                if once:
                    break
    except FetchFault as fault:
        exits.tell(str(fault))
        return exits.Exit.NOT_CONNECTED
    except TimeoutError:
        exits.tell(f"nothing has come from $SYS in {PATIENCE_S:g} s: the broker has none, or it may not be read")
        return exits.Exit.TIMED_OUT
    return exits.Exit.DONE


# -- where it comes from


class FetchFault(Exception):
    """The administration has not answered; the text says why, and what to do."""


async def from_http(url: str, token: str, ca_file: str | None, every_s: float) -> AsyncGenerator[Overview, None]:
    """What the administration says. Raises FetchFault."""
    import msgspec  # noqa: PLC0415

    from tidewire.access.web import FetchError, WebClient, is_private  # noqa: PLC0415
    from tidewire.server.admin_types import Overview  # noqa: PLC0415

    if not is_private(url):
        raise FetchFault(f"{url} would carry the token in the clear; use https, or this machine")
    try:
        web = WebClient(PATIENCE_S, ANSWER_BYTES, ca_file)
    except OSError as error:
        raise FetchFault(f"cannot use {ca_file}: {error.strerror or error}") from None
    headers = {"Authorization": f"Bearer {token}"}
    while True:
        try:
            answer = await asyncio.to_thread(web.fetch, f"{url.rstrip('/')}/v1/overview", None, headers)
            yield msgspec.json.decode(answer, type=Overview)
        except FetchError as error:
            mend = "the token is another one" if "401" in str(error) else "is [admin] configured, and the broker up?"
            why = re.sub(r"<urlopen error (?:\[Errno -?\d+\] )?(.*)>", r"\1", str(error))
            raise FetchFault(f"no answer from {url}: {why}; {mend}") from None
        except msgspec.MsgspecError as error:
            raise FetchFault(f"{url} is no administration of Tidewire: {error}") from None
        await asyncio.sleep(every_s)


async def from_sys(connection: Connection) -> AsyncGenerator[Overview, None]:
    """What `$SYS` says: once it is all there, and whenever the broker has published it anew.

    Raises TimeoutError where there is none, and what a client raises."""
    values: dict[str, str] = {}
    async with connection.client() as client, client.subscribe("$SYS/broker/#") as messages:
        async with asyncio.timeout(PATIENCE_S):
            while not values.keys() >= _NEEDED:
                _note(values, await messages.get())
        while True:
            await asyncio.sleep(SETTLE_S)
            while (message := messages.get_nowait()) is not None:
                _note(values, message)
            yield _of_sys(values)
            while _note(values, await messages.get()) != "uptime":  # it changes at each interval, among the first
                pass


def _note(values: dict[str, str], message: Message) -> str:
    """Its name; without a payload its topic is no more."""
    name = message.topic.removeprefix("$SYS/broker/")
    values[name] = message.text()
    if not message.payload:
        del values[name]
    return name


_COUNTS: Final = {
    "connections": "clients/connected",
    "sessions": "clients/total",
    "subscriptions": "subscriptions/count",
}
_TOTALS: Final = {
    "messages_in": "publish/messages/received",
    "messages_out": "publish/messages/sent",
    "messages_dropped": "publish/messages/dropped",
    "bytes_in": "bytes/received",
    "bytes_out": "bytes/sent",
}
_LOADS: Final = {
    "messages_in": "load/publish/received/1min",
    "messages_out": "load/publish/sent/1min",
    "messages_dropped": "load/publish/dropped/1min",
    "bytes_in": "load/bytes/received/1min",
    "bytes_out": "load/bytes/sent/1min",
}
_RETAINED: Final = "retained messages/count"
"""`$SYS` included."""
_NEEDED: Final = {"version", "uptime", _RETAINED, *_COUNTS.values(), *_TOTALS.values()}
"""What Mosquitto has as well."""


def _of_sys(values: dict[str, str]) -> Overview:
    from tidewire.server.admin_types import BridgeInfo, Flow, Overview  # noqa: PLC0415

    def number(name: str) -> float:
        try:
            return float(values.get(name, "0").split()[0])  # "1234 seconds"
        except (ValueError, IndexError):
            return 0.0

    bridges = [
        BridgeInfo(name=name.removeprefix("bridge/").removesuffix("/state"), connected=value == "1")
        for name, value in values.items()
        if name.startswith("bridge/") and name.endswith("/state")
    ]
    return Overview(
        version=values["version"].removeprefix("tidewire version "),
        form="",
        now=time.time(),
        uptime_s=number("uptime"),
        **{field: int(number(name)) for field, name in _COUNTS.items()},
        retained_messages=max(0, int(number(_RETAINED)) - len(values)),
        retained_bytes=0,
        queued_messages=max(0, int(number("store/messages/count") - number(_RETAINED))),
        queued_bytes=int(number("store/messages/bytes")),
        totals=Flow(**{field: number(name) for field, name in _TOTALS.items()}),
        rates=Flow(**{field: number(name) / 60.0 for field, name in _LOADS.items()}),
        drops={name.removeprefix("dropped/"): int(number(name)) for name in values if name.startswith("dropped/")},
        cpu_share=-1.0,
        memory_bytes=0,
        store=values.get("store/state", "none"),
        listeners=[],
        bridges=bridges,
        sys_messages=len(values),
    )


# -- what it looks like


def _as_json(overview: Overview) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.encode(overview).decode() + "\n"


def _lines(where: str) -> Callable[[Overview], str]:
    def show(overview: Overview) -> str:
        rates, totals = overview.rates, overview.totals
        form = f" ({overview.form})" if overview.form else ""
        rows = [
            f"tidewire {overview.version}{form}, up {_duration(overview.uptime_s)}, {where}",
            "",
            _row("clients", connected=overview.connections, sessions=overview.sessions,
                 subscriptions=overview.subscriptions),
            _row("messages/s", **{"in": rates.messages_in, "out": rates.messages_out,
                                  "dropped": rates.messages_dropped}),
            _row("bytes/s", **{"in": _bytes(rates.bytes_in), "out": _bytes(rates.bytes_out)}),
            _row("messages", **{"in": totals.messages_in, "out": totals.messages_out,
                                "dropped": totals.messages_dropped}),
            _row("kept", retained=overview.retained_messages, waiting=overview.queued_messages,
                 store=overview.store),
        ]  # fmt: skip
        if overview.cpu_share >= 0.0:
            rows.append(_row("process", cpu=f"{overview.cpu_share:.0%}", memory=_bytes(overview.memory_bytes)))
        drops = {reason: count for reason, count in overview.drops.items() if count}
        if drops:
            rows.append(_row("dropped", **drops))
        for listener in overview.listeners:
            urls = ", ".join(listener.urls)
            rows.append(f"{'listener':<12}{urls}  {grouped(listener.connections)} connected")
        for bridge in overview.bridges:
            rows.append(f"{'bridge':<12}{bridge.name}  {'connected' if bridge.connected else 'not connected'}")
        return "".join(f"{printable(row)}\n" for row in rows)

    return show


def _row(title: str, **figures: float | str) -> str:
    said = {name: figure if isinstance(figure, str) else grouped(figure) for name, figure in figures.items()}
    return f"{title:<12}{''.join(f'{name} {figure}'.ljust(CELL) for name, figure in said.items())}".rstrip()


def _bytes(count: float) -> str:
    """1.5 MB: powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000.0
    return f"{count:.3g} TB"


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86_400)
    clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def _token(path: Path) -> str:
    """Raises click.UsageError for a file that cannot be read, or has none."""
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if not lines:
        raise click.UsageError(f"there is no token in {path}")
    return lines[0]
