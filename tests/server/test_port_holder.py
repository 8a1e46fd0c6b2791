"""Is the program that listens at a port found, and no other?"""

from __future__ import annotations

import os
import socket
import sys

import pytest

from tidewire.server.port_holder import PortHolder, port_holder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says it in /proc")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_listens_is_found_by_its_port(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        holder = port_holder(listener.getsockname()[1])
    assert holder is not None
    assert holder.process_identifier == os.getpid()
    assert str(holder).endswith(f"(process {os.getpid()})")


def test_who_does_not_listen_holds_no_port() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_holder(bound.getsockname()[1]) is None


@pytest.mark.parametrize(
    ("command", "is_tidewire"),
    [
        (["/usr/bin/python3", "/opt/bin/tidewire", "serve"], True),
        (["python", "-m", "tidewire", "serve", "--port", "1884"], True),
        (["python", "-m", "tidewire", "sub", "-t", "serve/#"], False),
        (["/usr/sbin/mosquitto", "-c", "/etc/tidewire"], False),
        ([], False),
    ],
)
def test_a_broker_of_ours_is_known_however_it_was_started(command: list[str], is_tidewire: bool) -> None:
    assert PortHolder(1, command).is_tidewire is is_tidewire
