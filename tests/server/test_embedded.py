"""Does a broker inside a program start, stop and leave the program's own things alone?"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.process import BareClient
from tidewire.server.config import AccessConfig, Config, ConfigError
from tidewire.server.embedded import Broker
from tidewire.server.hooks import Disconnection
from tidewire.wire.errors import InvalidTopic
from tidewire.wire.packets import Disconnect, Publish


def connect(broker: Broker, client_identifier: str = "alice") -> BareClient:
    """A connected client; for a thread beside the loop."""
    return BareClient(("127.0.0.1", broker.port), 5).connect(client_identifier)


def subscribed(broker: Broker, topic_filter: str) -> BareClient:
    client = connect(broker)
    client.subscribe(topic_filter, 1)
    return client


def with_broker(use: Callable[[Broker], Awaitable[None]], *args: Any, **options: Any) -> None:
    """Run a program that is nothing but a broker and what uses it."""

    async def program() -> None:
        async with Broker(*args, **({"port": 0} | options)) as broker:
            await use(broker)

    asyncio.run(program())


def test_it_serves_clients_on_a_free_port_and_says_where() -> None:
    async def use(broker: Broker) -> None:
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
        assert broker.addresses[0] == f"127.0.0.1:{broker.port}"
        with await asyncio.to_thread(connect, broker) as client:
            assert client.connack.reason_code == 0
            assert broker.clients == ["alice"]

    with_broker(use)


def test_without_arguments_it_is_on_the_standard_port_of_this_machine_alone() -> None:
    assert Broker()._config.port == 1883
    assert Broker()._config.bind == ["127.0.0.1", "::1"]


def test_it_is_on_a_unix_socket_alone_when_there_is_no_other_address(tmp_path: Path) -> None:
    path = tmp_path / "socket"

    async def use(broker: Broker) -> None:
        assert broker.url == f"unix://{path}"
        assert path.is_socket()

    with_broker(use, bind=[], unix_socket=str(path))
    assert not path.exists()


def test_an_address_for_everybody_is_reached_on_this_machine() -> None:
    async def use(broker: Broker) -> None:
        assert broker.url == f"mqtt://127.0.0.1:{broker.port}"

    with_broker(use, bind="0.0.0.0", access={"anonymous": True})


def test_it_takes_a_configuration_a_mapping_or_a_file_and_what_is_named_beside_it_wins(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("port = 1\nbacklog = 7\n[limits]\nreceive_maximum = 5\n")
    same = {"port": 1, "backlog": 7, "limits": {"receive_maximum": 5}}
    for config in (file, str(file), same, Config(port=1, backlog=7, limits={"receive_maximum": 5})):

        async def use(broker: Broker) -> None:
            assert broker.server.config.backlog == 7
            client = await asyncio.to_thread(connect, broker)
            assert client.connack.properties.integers[0x21] == 5
            assert client.connack.properties.integers[0x22] == 3
            client.close()

        with_broker(use, config, limits={"topic_alias_maximum": 3})


def test_a_configuration_that_is_handed_in_is_not_changed() -> None:
    config = Config(port=0)
    with_broker(lambda broker: asyncio.sleep(0), config, limits={"receive_maximum": 5})
    assert config == Config(port=0)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"port": 70_000}, r"the broker's configuration: Expected `int` <= 65535 - at `\$\.port`"),
    ({"config": {"prot": 1883}}, "the broker's configuration: Object contains unknown field `prot`"),
    ({"limits": {"receive_maximun": 1}}, "limits.receive_maximun does not exist; did you mean receive_maximum?"),
    ({"limits": {"receive_maximum": 0}}, "limits.receive_maximum must lie between 1 and 65535"),
    ({"bind": "0.0.0.0"}, 'refusing to listen on 0.0.0.0 where anybody could connect: give .*access={"anonymous"'),
    ({"config": {"listener": [{"bind": ["::"], "port": 0}]}}, "refusing to listen on :: where anybody could connect: "),
    ({"config": "no/such/file.toml"}, "cannot read no/such/file.toml: No such file or directory"),
    ({"access": object()}, "the broker's configuration: "),
]


@pytest.mark.parametrize(("options", "said"), MISTAKES)
def test_what_cannot_be_used_is_refused_at_once(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        Broker(**options)
    assert "\n" not in str(raised.value)


def test_what_turns_out_when_it_starts_is_refused_then_with_the_argument_that_mends_it(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} of 127.0.0.1 is taken.*another: port={port + 1}$"):
            with_broker(lambda broker: asyncio.sleep(0), port=port)
    with pytest.raises(ConfigError, match=r"no address to listen on; name one: bind='127\.0\.0\.1'$"):
        with_broker(lambda broker: asyncio.sleep(0), bind=[])
    with pytest.raises(ConfigError, match="cannot read the password file"):
        with_broker(lambda broker: asyncio.sleep(0), access=AccessConfig(password_file=str(tmp_path / "none")))


def test_it_says_good_bye_and_cuts_who_does_not_close() -> None:
    async def program() -> None:
        async with Broker(port=0, stop_grace_s=0.0) as broker:
            client = await asyncio.to_thread(connect, broker)
            server = broker.server
        assert not server.gate.connections
        (said,) = client.packets()
        assert isinstance(said, Disconnect)
        assert said.reason_code == 0x8B
        client.close()

    asyncio.run(program())


def test_it_can_be_started_again_but_not_twice() -> None:
    async def program() -> None:
        broker = Broker(port=0)
        for _ in range(2):
            async with broker:
                (await asyncio.to_thread(connect, broker)).close()
                with pytest.raises(RuntimeError, match="is running already"):
                    await broker.start()
        await broker.stop()
        with pytest.raises(RuntimeError, match="is not running"):
            _ = broker.url

    asyncio.run(program())


def test_two_of_them_live_side_by_side() -> None:
    async def program() -> None:
        async with Broker(port=0) as one, Broker(port=0) as other:
            with await asyncio.to_thread(connect, one), await asyncio.to_thread(connect, other, "bob"):
                assert (one.clients, other.clients) == (["alice"], ["bob"])

    asyncio.run(program())


def test_signals_collector_logging_and_the_loops_errors_stay_the_programs_own() -> None:
    def state() -> list[object]:
        loop = asyncio.get_running_loop()
        logger = logging.getLogger("tidewire")
        return [
            signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGINT),
            gc.get_threshold(),
            gc.get_freeze_count(),
            list(logger.handlers),
            logger.propagate,
            logger.level,
            loop.get_exception_handler(),
        ]

    async def program() -> None:
        before = state()
        async with Broker(port=0):
            assert state() == before
        assert state() == before

    asyncio.run(program())


def test_nothing_of_it_stays_on_the_loop_when_it_has_stopped() -> None:
    async def program() -> None:
        async with Broker(port=0) as broker:
            (await asyncio.to_thread(connect, broker)).close()
            server = broker.server
        assert server._next_tick is not None
        assert server._next_tick.cancelled()
        assert not server.gate.connections
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(program())


def test_without_hooks_the_engine_has_none_to_ask() -> None:
    async def use(broker: Broker) -> None:
        assert broker.server.broker.hooks is None
        assert broker.server.broker.publish_hooks is None

    with_broker(use)


def test_without_on_publish_no_message_is_asked_about() -> None:
    async def use(broker: Broker) -> None:
        assert broker.server.broker.publish_hooks is None

    with_broker(use, on_connect=lambda request: None)


# -- publishing from the program


def test_the_program_publishes_without_a_client() -> None:
    async def use(broker: Broker) -> None:
        with await asyncio.to_thread(subscribed, broker, "a/#") as client:
            broker.publish("a/b", b"hello", qos=1)
            assert await asyncio.to_thread(client.receive) == Publish(b"a/b", b"hello", 1, packet_identifier=1)

    with_broker(use)


def test_a_retained_message_of_the_program_waits_for_subscribers() -> None:
    async def use(broker: Broker) -> None:
        broker.publish("a", b"kept", retain=True)
        with await asyncio.to_thread(subscribed, broker, "a") as client:
            assert await asyncio.to_thread(client.receive) == Publish(b"a", b"kept", retain=True)

    with_broker(use)


def test_a_hook_may_publish() -> None:
    async def use(broker: Broker) -> None:
        published.append(broker)
        with await asyncio.to_thread(subscribed, broker, "left/#") as client:
            (await asyncio.to_thread(connect, broker, "bob")).close()
            assert await asyncio.to_thread(client.receive) == Publish(b"left/bob")

    published: list[Broker] = []

    def tell(disconnection: Disconnection) -> None:
        if disconnection.client.client_identifier == "bob":
            published[0].publish(f"left/{disconnection.client.client_identifier}")

    with_broker(use, on_disconnect=tell)


def test_what_a_hook_publishes_comes_after_what_it_was_asked_about() -> None:
    async def use(broker: Broker) -> None:
        running.append(broker)
        with await asyncio.to_thread(subscribed, broker, "#") as client:
            client.publish("a")
            assert await asyncio.to_thread(client.receive) == Publish(b"a", b"x")
            assert await asyncio.to_thread(client.receive) == Publish(b"seen/a")

    running: list[Broker] = []

    with_broker(use, on_publish=lambda request: running[0].publish(f"seen/{request.topic}"))


def test_what_cannot_be_published_is_refused_at_once() -> None:
    async def use(broker: Broker) -> None:
        with pytest.raises(InvalidTopic, match="wildcard"):
            broker.publish("a/#")
        with pytest.raises(ValueError, match="QoS must be 0, 1 or 2, not 3"):
            broker.publish("a", qos=3)
        with pytest.raises(TypeError, match="payload must be bytes, not str"):
            broker.publish("a", "text")  # type: ignore[arg-type]

    with_broker(use)
