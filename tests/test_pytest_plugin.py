"""Does the plugin give each test the broker that it asks for?

Each test here writes a file of tests as a stranger would, and runs it with the plugin found by its entry point.
"""

from __future__ import annotations

import pytest

from tests.process import BareClient
from tidewire.testing import BrokerThread


@pytest.mark.tidewire(limits={"receive_maximum": 7})
def test_the_marker_says_what_the_broker_is_made_with(broker: BrokerThread) -> None:
    with BareClient(("127.0.0.1", broker.port), 5).connect() as client:
        assert client.connack.properties.integers[0x21] == 7


def test_the_url_is_that_of_the_tests_broker(broker: BrokerThread, broker_url: str) -> None:
    assert broker_url == broker.url == f"mqtt://127.0.0.1:{broker.port}"


def test_each_test_has_a_broker_of_its_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import socket

        ports = []

        def test_one(broker):
            ports.append(broker.port)

        def test_other(broker, broker_factory):
            assert not ports or socket.socket().connect_ex(("127.0.0.1", ports[0]))
            assert broker_factory().port != broker.port
        """
    )
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=2)


def test_a_blocking_client_is_used_from_a_plain_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from paho.mqtt.client import CallbackAPIVersion, Client
        from paho.mqtt.publish import single
        from paho.mqtt.subscribe import simple

        def test_publish(broker):
            single("boards/7/altitude", b"100", qos=2, hostname="127.0.0.1", port=broker.port)
            [message] = broker.wait_for("boards/+/altitude")
            assert message.payload == b"100"

        def test_subscribe(broker):
            broker.publish("boards/7/altitude", b"100", retain=True)
            assert simple("boards/#", hostname="127.0.0.1", port=broker.port).payload == b"100"

        def test_a_lost_acknowledgement(broker):
            fault = broker.faults.cut_at("PUBACK")
            client = Client(CallbackAPIVersion.VERSION2, "board", clean_session=False)
            client.reconnect_delay_set(min_delay=1, max_delay=1)
            client.connect("127.0.0.1", broker.port)
            client.loop_start()
            client.publish("a", b"x", qos=1).wait_for_publish(30)
            client.disconnect()
            client.loop_stop()
            assert fault.done
            assert [message.payload for message in broker.received] == [b"x", b"x"]
        """
    )
    pytester.runpytest_inprocess("--strict-markers").assert_outcomes(passed=3)


def test_an_asyncio_client_is_used_from_an_async_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import aiomqtt

        async def talk(broker):
            async with aiomqtt.Client("127.0.0.1", broker.port) as client:
                await client.subscribe("commands/#")
                broker.publish("commands/stop", b"now")
                message = await anext(client.messages)
                await client.publish("done", message.payload)
                [done] = await asyncio.to_thread(broker.wait_for, "done")
                assert done.payload == b"now"

        def test_it(broker):
            asyncio.run(asyncio.wait_for(talk(broker), 30))
        """
    )
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_a_mistake_in_the_marker_is_an_error_that_says_so(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.tidewire(limits={"receive_maximun": 1})
        def test_it(broker): ...
        """
    )
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*limits.receive_maximun does not exist; did you mean receive_maximum?*"])


def test_fixtures_and_marker_are_listed(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--fixtures")
    result.stdout.fnmatch_lines(["broker --*", "*A broker of the test's own*", "broker_url --*"])
    result = pytester.runpytest_inprocess("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.tidewire(...)*arguments of tidewire.Broker*"])


def test_a_test_without_a_broker_does_not_wait_for_one_to_be_imported(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_it():
            assert not [name for name in sys.modules if name.startswith(("tidewire.engine", "tidewire.server"))]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)
