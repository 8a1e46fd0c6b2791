"""Does a stream that comes in pieces stay whole, without copying large packets over and over?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.harness import FakeTransport, RecordingEvents
from tidewire.engine.link import Outgoing
from tidewire.engine.reading import _LARGE_PACKET_BYTES as LARGE_PACKET_BYTES
from tidewire.engine.reading import Reading
from tidewire.engine.statistics import Statistics


def reading() -> Reading:
    return Reading(FakeTransport(), Outgoing(Statistics(0.0), RecordingEvents()))


class Blocks:
    """A reader of blocks that all have one size: the simplest user of `Reading`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.reading = reading()
        self.blocks: list[bytes] = []

    def receive(self, data: bytes) -> None:
        state = self.reading
        if state.kept or state.chunks is not None:
            data = state.join(data)
            if not data:
                return
        position = 0
        while position + self.size <= len(data):
            self.blocks.append(data[position : position + self.size])
            position += self.size
        if position < len(data):
            state.missing = position + self.size - len(data)
        state.keep(data, position)


@given(
    size=st.sampled_from([3_000, LARGE_PACKET_BYTES + 1, 3 * LARGE_PACKET_BYTES]),
    pieces=st.lists(st.sampled_from([1, 2, 100, LARGE_PACKET_BYTES - 3, LARGE_PACKET_BYTES]), max_size=20),
)
@settings(deadline=None)
def test_what_comes_in_pieces_is_put_together_again(size: int, pieces: list[int]) -> None:
    stream = (bytes(range(251)) * (sum(pieces) // 251 + 1))[: sum(pieces)]
    blocks = Blocks(size)
    position = 0
    for piece in pieces:
        blocks.receive(stream[position : position + piece])
        position += piece
    whole = len(stream) // size
    assert blocks.blocks == [stream[number * size : (number + 1) * size] for number in range(whole)]
    state = blocks.reading
    left = state.kept if state.chunks is None else b"".join(state.chunks)
    assert left == stream[whole * size :]


def test_the_parts_of_a_large_packet_are_collected_and_crumbs_are_not_kept_one_by_one() -> None:
    state = reading()
    state.missing = 10 * LARGE_PACKET_BYTES
    state.keep(b"start", 0)
    for _ in range(5 * LARGE_PACKET_BYTES // 100):
        assert state.join(bytes(100)) == b""
    assert state.chunks is not None
    assert len(state.chunks) <= 6
    whole = state.join(bytes(5 * LARGE_PACKET_BYTES + 100))
    assert len(whole) > 10 * LARGE_PACKET_BYTES
    assert whole.startswith(b"start")
    assert state.chunks is None
    assert (state.kept, state.missing) == (b"", 0)


def test_a_small_packet_that_is_not_whole_is_kept_as_it_is() -> None:
    state = reading()
    state.missing = LARGE_PACKET_BYTES
    state.keep(b"done, begun", 6)
    assert (state.kept, state.chunks, state.missing) == (b"begun", None, 0)
    assert state.join(b" and more") == b"begun and more"
    state.keep(b"all read", 8)
    assert state.kept == b""
