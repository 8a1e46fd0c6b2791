"""Is it understood what the kernel says of a connection, and is silence waited for?"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest

from tidewire.overhead import kernel
from tidewire.overhead.errors import MeasurementError
from tidewire.overhead.kernel import TcpInfo, prepare, tcp_info, wait_until_quiet

linux = pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux counts segments")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        prepare(client)
        client.connect(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            yield client, accepted


@linux
def test_a_whole_connection_is_counted(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    client.sendall(b"twelve bytes")
    server.recv(100)
    info = wait_until_quiet(client)
    assert (info.sent_bytes, info.received_bytes) == (12, 0)
    assert (info.segments_out, info.segments_in) == (3, 2)  # SYN, ACK, data; SYN, ACK
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    info = wait_until_quiet(client, closed=True)
    assert (info.sent_bytes, info.received_bytes) == (12, 1)  # its FIN
    assert info.data_segments_out == 1


@linux
def test_segments_are_cut_as_on_ethernet(ends: tuple[socket.socket, socket.socket]) -> None:
    client, server = ends
    client.sendall(bytes(3 * 1448))
    while wait_until_quiet(client).unsent_bytes:
        server.recv(1 << 16)
    assert tcp_info(client).data_segments_out == 3


@linux
def test_a_connection_that_never_closes_is_an_error(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel, "PATIENCE_S", 0.01)
    with pytest.raises(MeasurementError, match="a connection did not fall quiet"):
        wait_until_quiet(ends[0], closed=True)


def test_another_kernel_is_told_from_linux(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(MeasurementError, match="only the kernel of Linux"):
        tcp_info(ends[0])


@pytest.mark.parametrize(
    ("options", "header_bytes", "syn_bytes"),
    [(0b000, 40, 4), (0b111, 52, 8), (0b010, 40, 8), (0b110, 40, 12), (0b001, 52, 4)],
)
def test_headers_have_the_options_that_were_agreed_on(options: int, header_bytes: int, syn_bytes: int) -> None:
    info = TcpInfo(False, options, *[0] * 9)
    assert (info.header_bytes, info.syn_bytes) == (header_bytes, syn_bytes)
    assert info.header_total(3) == 3 * header_bytes + syn_bytes
