"""`tidewire store`: look into what a broker keeps, take it out and put it in, running or stopped."""

from __future__ import annotations

import codecs
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

import click
import msgspec

from tidewire.cli.exits import Exit, tell
from tidewire.cli.numbers import counted, grouped
from tidewire.cli.screen import printable
from tidewire.cli.stored import directory_options, format_option, found, nobody_reads, wants_json
from tidewire.store import inspection
from tidewire.store.directory import DataDirectory
from tidewire.store.errors import StoreError
from tidewire.store.inspection import Kept, NoSuchSession, Overview, SessionState, Waiting, broker_on, reading
from tidewire.wire.errors import InvalidTopic

if TYPE_CHECKING:
    from tidewire.store.records import Record

MEASURED_ROWS: Final = 200
"""A table's columns are as wide as so many of its first rows want: more is not held back before the first is shown."""
PREVIEW_BYTES: Final = 40
"""Of a payload in a table."""

_PATH: Final = click.Path(path_type=Path)


@click.group()
@directory_options
@click.pass_context
def store(context: click.Context, directory: Path | None, config_file: Path | None) -> None:
    """Look into what a broker keeps, take it out and put it in.

    All but `import` and `compact` also work while the broker runs. Tables are for people: into a pipe or a file go
    JSON lines.

    \b
    Examples:
      tidewire store info
      tidewire store --data /var/lib/tidewire retained -v 'lamp/#'
    """
    context.obj = found(directory, config_file)


@store.command(short_help="Show it in figures.")
@format_option
@click.pass_obj
def info(data: DataDirectory, as_json: bool | None) -> None:
    """Show how large the store is, what is in it, and whether a broker runs on it."""
    with _mistakes(), reading(data.database) as database:
        overview = inspection.overview(database, data.database)
        if wants_json(as_json):
            _write_json([overview])
        else:
            click.echo("\n".join(_described(overview)))


@store.command(short_help="List sessions.")
@click.argument("pattern", metavar="[FILTER]", default="*")
@format_option
@click.pass_obj
def sessions(data: DataDirectory, pattern: str, as_json: bool | None) -> None:
    """List sessions: whose they are, when they end, and what waits in them.

    FILTER is for client identifiers, with * and ? as in a shell: 'sensor-*'.
    """
    with _mistakes(), reading(data.database) as database:
        runs = broker_on(data.path) is not None
        _show(
            inspection.sessions(database, pattern),
            as_json,
            _Column("CLIENT", lambda row: row.client),
            _Column("USER", lambda row: "-" if row.user is None else row.user),
            _Column("ENDS", lambda row: _end(row, runs)),
            _Column("SUBSCRIPTIONS", lambda row: grouped(row.subscriptions), True),
            _Column("WAITING", lambda row: grouped(row.waiting), True),
            _Column("IN FLIGHT", lambda row: grouped(row.in_flight), True),
            _Column("BYTES", lambda row: grouped(row.bytes), True),
        )


@store.command(short_help="List retained messages.")
@click.argument("topic_filter", metavar="[FILTER]", required=False)
@click.option("-v", "--verbose", is_flag=True, help="Who published them: client, user, address and time.")
@format_option
@click.pass_obj
def retained(data: DataDirectory, topic_filter: str | None, verbose: bool, as_json: bool | None) -> None:
    """List retained messages.

    FILTER is a topic filter, with + and #: 'lamp/+/state'.
    """
    columns = [
        _Column("TOPIC", lambda row: row.topic),
        _Column("QOS", lambda row: str(row.qos), True),
        _Column("BYTES", lambda row: grouped(row.payload_bytes), True),
    ]
    if verbose:
        columns += [
            _Column("CLIENT", lambda row: row.publisher or "-"),
            _Column("USER", lambda row: "-" if row.user is None else row.user),
            _Column("ADDRESS", lambda row: row.address or "-"),
            _Column("PUBLISHED", lambda row: _time(row.published_at)),
            _Column("EXPIRES", lambda row: _time(row.expires_at)),
        ]
    columns.append(_Column("PAYLOAD", _preview))
    with _mistakes(), reading(data.database) as database:
        shown_bytes = -1 if wants_json(as_json) else PREVIEW_BYTES
        _show(inspection.retained(database, topic_filter, shown_bytes), as_json, *columns)


@store.command(short_help="List what waits for a client.")
@click.argument("client")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="The first N alone.")
@format_option
@click.pass_obj
def queue(data: DataDirectory, client: str, limit: int | None, as_json: bool | None) -> None:
    """List what client identifier CLIENT has not acknowledged, in the order of sending."""
    with _mistakes(), reading(data.database) as database:
        shown_bytes = -1 if wants_json(as_json) else PREVIEW_BYTES
        try:
            _show(
                inspection.queue(database, client, limit or -1, shown_bytes),
                as_json,
                _Column("STATE", lambda row: row.state + f" {row.packet_identifier}" * bool(row.packet_identifier)),
                _Column("TOPIC", lambda row: row.topic or "-"),
                _Column("QOS", lambda row: str(row.qos), True),
                _Column("BYTES", lambda row: grouped(row.payload_bytes), True),
                _Column("CLIENT", lambda row: row.publisher or "-"),
                _Column("EXPIRES", lambda row: _time(row.expires_at)),
                _Column("PAYLOAD", _preview),
            )
        except NoSuchSession as error:
            command = shlex.join(["tidewire", "store", "--data", str(data.path), "sessions"])
            raise click.UsageError(f"{error}; see which there are: {command}") from None


@store.command(short_help="Write all of it as JSON lines.")
@click.argument("file", type=_PATH, default="-")
@click.pass_obj
def export(data: DataDirectory, file: Path) -> None:
    """Write all of it to FILE as JSON lines [default: standard output], to be read, edited and imported.

    \b
    Example, that takes everything to another broker:
      tidewire store export | ssh other tidewire store import -
    """
    from tidewire.store.export import records, write_lines  # noqa: PLC0415

    with _mistakes(), reading(data.database) as database, _new_file(file) as output:
        write_lines(output, records(database))


@store.command("import", short_help="Read JSON lines, or a mosquitto.db.")
@click.option("--mosquitto", is_flag=True, help="FILE is Mosquitto's, a mosquitto.db.")
@click.option("--replace", is_flag=True, help="Where the store has the same client or topic, take the file's.")
@click.argument("file", type=_PATH)
@click.pass_obj
def import_command(data: DataDirectory, mosquitto: bool, replace: bool, file: Path) -> None:
    """Add what is in FILE (- for standard input), all of it or nothing. The broker must not be running.

    \b
    Examples:
      tidewire store import store.jsonl
      tidewire store import --mosquitto /var/lib/mosquitto/mosquitto.db
    """
    from tidewire.store.export import ImportFault, import_records  # noqa: PLC0415

    with _mistakes():
        try:
            with _import_file(file, mosquitto) as placed, _locked(data, "; to import something"):
                done = import_records(data.database, placed, replace)
        except ImportFault as error:
            name = "standard input" if str(file) == "-" else file
            raise click.UsageError(f"{name}: {error}; nothing was imported") from None
    click.echo(
        f"imported {counted(done.sessions, 'session')}, {counted(done.messages, 'waiting message')}"
        f" and {counted(done.retained, 'retained message')}"
    )


@store.command(short_help="Copy it to one file.")
@click.argument("file", type=_PATH)
@click.pass_obj
def backup(data: DataDirectory, file: Path) -> None:
    """Copy the store, as it is now, to FILE.

    To go back to it, stop the broker, and replace all of DIR/broker.db* by the copy, as DIR/broker.db.
    """
    from tidewire.store.export import back_up  # noqa: PLC0415

    with _mistakes(), reading(data.database) as database:
        back_up(database, file)
    click.echo(f"{file}: {grouped(file.stat().st_size)} bytes")


@store.command("compact", short_help="Give all unused space back.")
@click.pass_obj
def compact_command(data: DataDirectory) -> None:
    """Make the file as small as it can be. The broker must not be running."""
    from tidewire.store.export import compact  # noqa: PLC0415

    with _mistakes():
        with reading(data.database):
            pass  # or it is said what is wrong
        with _locked(data, " and gives space back by itself; to compact it all the same"):
            before, after = compact(data.database)
    click.echo(f"{data.database}: {grouped(after)} bytes, {grouped(before - after)} less than before")


@store.command(short_help="See that it is whole.", epilog="The exit status is 0 where it is whole, 1 where it is not.")
@click.pass_obj
def verify(data: DataDirectory) -> None:
    """See that the file is whole: its pages, its messages by their checksums, and what refers to what.

    Each fault is a line. All of the file is read.
    """
    is_whole = True
    with _mistakes():
        for fault in inspection.faults(data.database):
            click.echo(printable(fault))
            is_whole = False
    if is_whole:
        click.echo(f"{data.database} is whole")
    sys.exit(not is_whole)


# -- how it is shown


class _Column(NamedTuple):
    heading: str
    text: Callable[[Any], str]
    is_number: bool = False


def _show(rows: Iterator[SessionState | Kept | Waiting], as_json: bool | None, *columns: _Column) -> None:
    if wants_json(as_json):
        _write_json(rows)
        return
    cells = ([printable(column.text(row)) for column in columns] for row in rows)
    measured = [[column.heading for column in columns], *islice(cells, MEASURED_ROWS)]
    widths = [max(map(len, column)) for column in zip(*measured, strict=True)]
    for row in chain(measured, cells):
        padded = [
            text.rjust(width) if column.is_number else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())
    if len(measured) == 1:
        tell("there is none")


def _write_json(rows: Iterable[msgspec.Struct]) -> None:
    output = sys.stdout.buffer
    for row in rows:
        fields = msgspec.structs.asdict(row)
        payload = fields.pop("payload", None)
        if payload is not None:
            try:
                fields["payload"] = payload.decode()
            except UnicodeDecodeError:
                fields["payload_base64"] = payload
        output.write(msgspec.json.encode(fields) + b"\n")
    output.flush()


def _described(overview: Overview) -> Iterator[str]:
    runs = {None: "no broker runs on it", 0: "a broker runs on it"}
    pid = overview.broker_pid
    yield f"{printable(overview.file)}, schema {overview.schema_version}; {runs.get(pid, f'broker {pid} runs on it')}"
    log = f"; {grouped(overview.log_bytes)} in the write-ahead log" if overview.log_bytes else ""
    free = f", {grouped(overview.free_bytes)} of them free" if overview.free_bytes else ""
    for name, said in (
        ("file", f"{grouped(overview.file_bytes)} bytes{free}{log}"),
        ("sessions", f"{grouped(overview.sessions)}, with {counted(overview.subscriptions, 'subscription')}"),
        ("messages", f"{grouped(overview.messages)}, {grouped(overview.message_bytes)} bytes"),
        ("deliveries", f"{grouped(overview.waiting)} waiting, {grouped(overview.in_flight)} in flight"),
        ("retained", f"{grouped(overview.retained)}, {grouped(overview.retained_bytes)} bytes"),
    ):
        yield f"  {name:<12}{said}"
    oldest = overview.oldest_waiting
    if oldest is not None:
        yield f"  {'oldest':<12}on {printable(oldest.topic)}, waiting for {printable(oldest.client)}"
    for index, state in enumerate(overview.largest_queues):
        queued = counted(state.waiting + state.in_flight, "message")
        yield f"  {'' if index else 'queues':<12}{printable(state.client)}: {queued}, {grouped(state.bytes)} bytes"


def _end(state: SessionState, broker_runs: bool) -> str:
    if state.ends_at is None:
        return "connected" if broker_runs else "was connected"
    return _time(state.ends_at) if state.ends_at.timestamp() > time.time() else "has ended"


def _time(at: datetime | None) -> str:
    """In this machine's time zone."""
    return "-" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _preview(row: Kept | Waiting) -> str:
    """The beginning of a payload, as text where it is one."""
    more = "…" * (row.payload_bytes > len(row.payload))
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(row.payload, final=not more)
    except UnicodeDecodeError:
        return row.payload[: PREVIEW_BYTES // 2].hex(" ", -4) + "…" * (row.payload_bytes > PREVIEW_BYTES // 2)
    return text + more


# -- what can be wrong, and what has to be so


@contextmanager
def _mistakes() -> Iterator[None]:
    """Tell in one line what store, files and arguments do not allow."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()
    except (StoreError, InvalidTopic) as error:
        raise click.UsageError(str(error)) from None
    except FileExistsError as error:
        raise click.UsageError(f"{error.filename} exists already; name another file") from None
    except OSError as error:
        if error.filename is not None:
            raise click.UsageError(f"cannot use {error.filename}: {error.strerror}") from None
        tell(f"cannot read or write: {error.strerror}")
        sys.exit(Exit.INPUT_OUTPUT)


@contextmanager
def _locked(data: DataDirectory, while_one_runs: str) -> Iterator[None]:
    """Keep brokers off the store. Raises UsageError while one runs."""
    pid = broker_on(data.path)
    if pid is not None:
        raise click.UsageError(
            f"a broker runs on {data.path}{while_one_runs}, stop it first{f': kill {pid}' * bool(pid)}"
        )
    data.take()
    try:
        yield
    finally:
        data.release()


@contextmanager
def _new_file(file: Path) -> Iterator[IO[bytes]]:
    """Standard output for -, else a file that is not there yet; it goes again when not all could be written."""
    if str(file) == "-":
        yield sys.stdout.buffer
        return
    with open(file, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
        try:
            yield output
        except BaseException:
            file.unlink()
            raise


@contextmanager
def _import_file(file: Path, mosquitto: bool) -> Iterator[Iterator[tuple[str, Record]]]:
    """The records in a file, with their places."""
    if mosquitto:
        from tidewire.store.mosquitto_db import open_mosquitto_db  # noqa: PLC0415

        with open_mosquitto_db(file, time.time()) as db:
            if db.at_most_once:
                waited = counted(db.at_most_once, "message")
                tell(f"left out: {waited} of QoS 0 that waited for clients; only QoS 1 and 2 are kept")
            if db.doubtful:
                whose = f"{counted(len(db.doubtful), 'client')}, such as {db.doubtful[0]!r},"
                tell(f"the user of {whose} may be wrong: Mosquitto before 2.0.16 gives one without any that of another")
            yield db.records()
        return
    from tidewire.store.export import read_lines  # noqa: PLC0415

    if str(file) == "-":
        yield read_lines(sys.stdin.buffer)
        return
    with file.open("rb") as lines:
        yield read_lines(lines)
