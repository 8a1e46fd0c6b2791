"""What does the message cost by AMQP 0-9-1? aio-pika against a RabbitMQ that is started for it, where there is one."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from tempfile import TemporaryDirectory
from typing import Final

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from tidewire.overhead.mqtt import Message
from tidewire.overhead.peers import Served, Unavailable, Way, named

START_S: Final = 60.0
"""How long RabbitMQ may take to start: some 4 s on a desktop, far more on a small board."""
LOOK_AGAIN_S: Final = 0.05

PROGRAMS: Final = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
"""Debian's script of the second name switches to a user of its own; the first one starts as who we are."""


@asynccontextmanager
async def serving(message: Message) -> AsyncIterator[Served]:
    """RabbitMQ with a queue for the message. Raises Unavailable where it is not installed or does not start."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None or shutil.which("epmd") is None:
        raise Unavailable("RabbitMQ is not installed: apt-get install rabbitmq-server")
    with TemporaryDirectory(prefix="tidewire-overhead-", ignore_cleanup_errors=True) as directory:
        port, environment = _environment(directory)
        start = partial(
            asyncio.create_subprocess_exec,
            env=environment,
            cwd=directory,
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=DEVNULL,
            start_new_session=True,
        )
        # Erlang's name server would be started by RabbitMQ, and outlive it.
        processes = [await start("epmd"), await start(program)]
        try:
            async with await _connected(processes[1], port) as reader:
                arrivals: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
                queue = await _declared(await reader.channel(), message.topic)
                await queue.consume(arrivals.put, no_ack=True)
                implementation = f"{named('aio-pika')}, RabbitMQ {_server_version(reader)}"
                ways = [
                    Way("AMQP 0-9-1, not confirmed", partial(_Publisher, arrivals, False), implementation),
                    Way("AMQP 0-9-1, confirmed", partial(_Publisher, arrivals, True), implementation),
                ]
                yield Served(port, ways)
        finally:
            for process in reversed(processes):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # there is nothing that it should keep
                await process.wait()


async def _declared(channel: AbstractChannel, name: str) -> AbstractQueue:
    try:
        return await channel.declare_queue(name, exclusive=True)
    except ValueError:
        raise Unavailable(f"no queue may be called {name!r}; take a shorter or plainer --topic") from None


class _Publisher:
    def __init__(self, arrivals: asyncio.Queue[AbstractIncomingMessage], confirmed: bool) -> None:
        self._arrivals = arrivals
        self._confirmed = confirmed
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None

    async def open(self, port: int) -> None:
        self._connection = await aio_pika.connect(f"amqp://127.0.0.1:{port}")
        self._channel = await self._connection.channel(publisher_confirms=self._confirmed)

    async def send(self, message: Message) -> None:
        assert self._channel is not None
        await self._channel.default_exchange.publish(aio_pika.Message(message.payload), routing_key=message.topic)
        await self._arrivals.get()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()


def _environment(directory: str) -> tuple[int, dict[str, str]]:
    """RabbitMQ's port, and variables that keep it to loopback, to this directory and to no configuration of others."""
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    port, between_nodes, of_names = (each.getsockname()[1] for each in free)
    for each in free:
        each.close()
    nothing = os.path.join(directory, "none")
    own = {
        "HOME": directory,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(of_names),
        "RABBITMQ_NODENAME": f"tidewire-overhead-{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(between_nodes),
        "RABBITMQ_MNESIA_BASE": directory,
        "RABBITMQ_LOG_BASE": directory,
        "RABBITMQ_CONFIG_FILE": nothing,
        "RABBITMQ_ADVANCED_CONFIG_FILE": nothing,
        "RABBITMQ_CONF_ENV_FILE": nothing,
        "RABBITMQ_ENABLED_PLUGINS_FILE": nothing,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",  # one client needs no more, and it starts sooner
    }
    return port, {**os.environ, **own}


async def _connected(process: Process, port: int) -> AbstractConnection:
    """A connection past the relay, as soon as there can be one. Raises Unavailable."""
    with suppress(TimeoutError):
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                with suppress(OSError):  # it opens its port last
                    _, probe = await asyncio.open_connection("127.0.0.1", port)
                    probe.close()
                    return await aio_pika.connect(f"amqp://127.0.0.1:{port}")
                await asyncio.sleep(LOOK_AGAIN_S)
            raise Unavailable(f"RabbitMQ ended with status {process.returncode}; run rabbitmq-server to see why")
    raise Unavailable(f"RabbitMQ did not answer within {START_S:g} s of its start; run rabbitmq-server to see why")


def _server_version(connection: AbstractConnection) -> str:
    under = getattr(connection.transport, "connection", None)
    return str(getattr(under, "server_properties", {}).get("version", ""))
