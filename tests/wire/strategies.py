"""Which packets are valid: hypothesis strategies for every packet, version and property, and ways to damage bytes.

Start at `versioned_packets` (any packet with the version that it is for) or `packets(packet_type, version)`.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from hypothesis import settings
from hypothesis import strategies as st

from tidewire.wire import codes
from tidewire.wire import packets as wire
from tidewire.wire import properties as props
from tidewire.wire.codes import V5, V31, V311
from tidewire.wire.properties import Properties

VERSIONS: Final = (V31, V311, V5)
PACKET_TYPES: Final = tuple(range(codes.CONNECT, codes.AUTH + 1))
TYPES_AND_VERSIONS: Final = [
    (packet_type, version)
    for version in VERSIONS
    for packet_type in PACKET_TYPES
    if packet_type != codes.AUTH or version == V5
]

few = settings(max_examples=20, deadline=None)  # for tests that are parametrised over types and versions as well
many = settings(max_examples=200, deadline=None)

_ALL: Final = frozenset(range(16)) - {codes.PINGREQ, codes.PINGRESP}
_WILL_OR_PUBLISH: Final = frozenset({codes.WILL, codes.PUBLISH})
_HELLO: Final = frozenset({codes.CONNECT, codes.CONNACK})
_ANSWERS: Final = _ALL - _WILL_OR_PUBLISH - {codes.CONNECT, codes.SUBSCRIBE, codes.UNSUBSCRIBE}
_ONLY_CONNECT: Final = frozenset({codes.CONNECT})
_ONLY_CONNACK: Final = frozenset({codes.CONNACK})

# Table 2-4, written down a second time: identifier -> (type, least value, greatest value, packets).
PROPERTY_TABLE: Final[dict[int, tuple[str, int, int, frozenset[int]]]] = {
    0x01: ("byte", 0, 1, _WILL_OR_PUBLISH),
    0x02: ("four", 0, 2**32 - 1, _WILL_OR_PUBLISH),
    0x03: ("text", 0, 0, _WILL_OR_PUBLISH),
    0x08: ("text", 0, 0, _WILL_OR_PUBLISH),
    0x09: ("binary", 0, 0, _WILL_OR_PUBLISH),
    0x0B: ("variable", 1, 268_435_455, frozenset({codes.PUBLISH, codes.SUBSCRIBE})),
    0x11: ("four", 0, 2**32 - 1, _HELLO | {codes.DISCONNECT}),
    0x12: ("text", 0, 0, _ONLY_CONNACK),
    0x13: ("two", 0, 65_535, _ONLY_CONNACK),
    0x15: ("text", 0, 0, _HELLO | {codes.AUTH}),
    0x16: ("binary", 0, 0, _HELLO | {codes.AUTH}),
    0x17: ("byte", 0, 1, _ONLY_CONNECT),
    0x18: ("four", 0, 2**32 - 1, frozenset({codes.WILL})),
    0x19: ("byte", 0, 1, _ONLY_CONNECT),
    0x1A: ("text", 0, 0, _ONLY_CONNACK),
    0x1C: ("text", 0, 0, _ONLY_CONNACK | {codes.DISCONNECT}),
    0x1F: ("text", 0, 0, _ANSWERS),
    0x21: ("two", 1, 65_535, _HELLO),
    0x22: ("two", 0, 65_535, _HELLO),
    0x23: ("two", 0, 65_535, frozenset({codes.PUBLISH})),
    0x24: ("byte", 0, 1, _ONLY_CONNACK),
    0x25: ("byte", 0, 1, _ONLY_CONNACK),
    0x26: ("pair", 0, 0, _ALL),
    0x27: ("four", 1, 2**32 - 1, _HELLO),
    0x28: ("byte", 0, 1, _ONLY_CONNACK),
    0x29: ("byte", 0, 1, _ONLY_CONNACK),
    0x2A: ("byte", 0, 1, _ONLY_CONNACK),
}

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
binaries = st.binary(max_size=8)
packet_identifiers = st.integers(1, 65_535)
topic_names = st.text(st.characters(codec="utf-8", exclude_characters="\0+#"), min_size=1, max_size=12).map(str.encode)


@cache
@st.composite
def topic_filters(draw: st.DrawFn, *, shared: bool = False) -> bytes:
    """A valid topic filter with few distinct levels, so that filters and names meet; `shared` puts $share/… before."""
    levels = draw(st.lists(st.sampled_from(["+", "a", "b", "", "$a", "höhe"]), min_size=1, max_size=5))
    if draw(st.booleans()):
        levels.append("#")
    topic_filter = "/".join(levels) or "a"
    if shared:
        topic_filter = f"$share/{draw(st.sampled_from(['g', 'group 2', '$']))}/{topic_filter}"
    return topic_filter.encode()


@cache
@st.composite
def properties(draw: st.DrawFn, packet: int, every: bool = False) -> Properties:
    """Properties that `packet` (a packet type, or WILL) may carry: some, or one of each."""
    possible = [identifier for identifier, row in PROPERTY_TABLE.items() if packet in row[3]]
    chosen = possible if every else draw(st.lists(st.sampled_from(possible), unique=True))
    if props.AUTHENTICATION_DATA in chosen and props.AUTHENTICATION_METHOD not in chosen:
        chosen = [*chosen, props.AUTHENTICATION_METHOD]
    result = Properties()
    for identifier in chosen:
        kind, least, most, _ = PROPERTY_TABLE[identifier]
        if kind == "pair":
            result.user_properties = draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
        elif kind == "variable":
            limit = 3 if packet == codes.PUBLISH else 1
            result.subscription_identifiers = draw(st.lists(st.integers(least, most), min_size=1, max_size=limit))
        elif kind == "binary":
            result.binaries[identifier] = draw(binaries)
        elif identifier == props.RESPONSE_TOPIC:
            result.texts[identifier] = draw(topic_names).decode()
        elif kind == "text":
            result.texts[identifier] = draw(texts)
        else:
            result.integers[identifier] = draw(st.integers(least, most))
    return result


@cache
def _properties(packet: int, version: int, every: bool) -> st.SearchStrategy[Properties]:
    return properties(packet, every) if version == V5 else st.builds(Properties)


@cache
def _reason_codes(packet_type: int, version: int) -> st.SearchStrategy[int]:
    return st.sampled_from(sorted(codes.ALLOWED_REASON_CODES[packet_type])) if version == V5 else st.just(0)


@st.composite
def _connects(draw: st.DrawFn, version: int, every: bool) -> wire.Connect:
    user_name = draw(st.none() | texts)
    may_have_password = version == V5 or user_name is not None
    return wire.Connect(
        client_identifier=draw(texts),
        version=version,
        clean_start=draw(st.booleans()),
        keep_alive=draw(st.integers(0, 65_535)),
        will=draw(wills(version, every) if every else st.none() | wills(version)),
        user_name=user_name,
        password=draw(st.none() | binaries) if may_have_password else None,
        properties=draw(_properties(codes.CONNECT, version, every)),
    )


@cache
def wills(version: int, every: bool = False) -> st.SearchStrategy[wire.Will]:
    return st.builds(
        wire.Will, topic_names, binaries, st.integers(0, 2), st.booleans(), _properties(codes.WILL, version, every)
    )


@st.composite
def _connacks(draw: st.DrawFn, version: int, every: bool) -> wire.Connack:
    reason_code = draw(_reason_codes(codes.CONNACK, version) if version == V5 else st.integers(0, 5))
    session_present = reason_code == 0 and version != V31 and draw(st.booleans())
    return wire.Connack(session_present, reason_code, draw(_properties(codes.CONNACK, version, every)))


@st.composite
def _publishes(draw: st.DrawFn, version: int, every: bool) -> wire.Publish:
    qos = draw(st.integers(0, 2))
    carried = draw(_properties(codes.PUBLISH, version, every))
    by_alias = props.TOPIC_ALIAS in carried.integers and draw(st.booleans())
    return wire.Publish(
        topic=b"" if by_alias else draw(topic_names),
        payload=draw(binaries | st.binary(min_size=120, max_size=140)),  # around one byte of remaining length
        qos=qos,
        retain=draw(st.booleans()),
        dup=qos > 0 and draw(st.booleans()),
        packet_identifier=draw(packet_identifiers) if qos else 0,
        properties=carried,
    )


@st.composite
def _subscription_requests(draw: st.DrawFn, version: int) -> wire.SubscriptionRequest:
    shared = draw(st.booleans())
    request = wire.SubscriptionRequest(draw(topic_filters(shared=shared)), draw(st.integers(0, 2)))
    if version == V5:
        request.no_local = not shared and draw(st.booleans())
        request.retain_as_published = draw(st.booleans())
        request.retain_handling = draw(st.integers(0, 2))
    return request


@st.composite
def _auths(draw: st.DrawFn, every: bool) -> wire.Auth:
    carried = draw(properties(codes.AUTH, every))
    carried.texts.setdefault(props.AUTHENTICATION_METHOD, draw(texts))
    return draw(st.just(wire.Auth()) | st.builds(wire.Auth, _reason_codes(codes.AUTH, V5), st.just(carried)))


@cache
def packets(packet_type: int, version: int, every: bool = False) -> st.SearchStrategy[wire.Packet]:
    """Valid packets of one type in one version; with `every`, each carries all the properties that it may."""
    carried = _properties(packet_type, version, every) if packet_type in _ALL else st.builds(Properties)
    if packet_type == codes.CONNECT:
        return _connects(version, every)
    if packet_type == codes.CONNACK:
        return _connacks(version, every)
    if packet_type == codes.PUBLISH:
        return _publishes(version, every)
    if packet_type <= codes.PUBCOMP:
        reason_codes = _reason_codes(packet_type, version)
        return st.builds(wire.Acknowledgement, st.just(packet_type), packet_identifiers, reason_codes, carried)
    if packet_type == codes.SUBSCRIBE:
        requests = st.lists(_subscription_requests(version), min_size=1, max_size=3)
        return st.builds(wire.Subscribe, packet_identifiers, requests, carried)
    if packet_type == codes.SUBACK:
        granted = _reason_codes(packet_type, version) if version == V5 else st.sampled_from([0, 1, 2, 0x80])
        return st.builds(wire.Suback, packet_identifiers, st.lists(granted, min_size=1, max_size=3), carried)
    if packet_type == codes.UNSUBSCRIBE:
        filters = st.lists(topic_filters() | topic_filters(shared=True), min_size=1, max_size=3)
        return st.builds(wire.Unsubscribe, packet_identifiers, filters, carried)
    if packet_type == codes.UNSUBACK:
        results = st.lists(_reason_codes(packet_type, version), min_size=1, max_size=3)
        return st.builds(wire.Unsuback, packet_identifiers, results if version == V5 else st.builds(list), carried)
    if packet_type == codes.PINGREQ:
        return st.builds(wire.Pingreq)
    if packet_type == codes.PINGRESP:
        return st.builds(wire.Pingresp)
    if packet_type == codes.DISCONNECT:
        return st.builds(wire.Disconnect, _reason_codes(packet_type, version), carried)
    return _auths(every)


@cache
def any_packets(version: int) -> st.SearchStrategy[wire.Packet]:
    """Valid packets of every type that `version` has."""
    return st.one_of([packets(packet_type, of) for packet_type, of in TYPES_AND_VERSIONS if of == version])


@st.composite
def versioned_packets(draw: st.DrawFn) -> tuple[int, wire.Packet]:
    """(version, a valid packet for it)."""
    version = draw(st.sampled_from(VERSIONS))
    return version, draw(any_packets(version))


@st.composite
def streams(draw: st.DrawFn) -> tuple[int, list[wire.Packet]]:
    """(version, valid packets for it), as one side of a connection could send them."""
    version = draw(st.sampled_from(VERSIONS))
    return version, draw(st.lists(any_packets(version), min_size=1, max_size=4))


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces, cut at random places."""
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@st.composite
def mutations(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with one to four bytes changed, inserted or removed, a piece doubled or the end cut off."""
    damaged = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(len(damaged) - 1, 0)))
        kind = draw(st.sampled_from(["change", "insert", "remove", "double", "cut"]))
        if kind == "change":
            damaged[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "insert":
            damaged[place:place] = draw(st.binary(min_size=1, max_size=3))
        elif kind == "remove":
            del damaged[place]
        elif kind == "double":
            damaged[place:place] = damaged[place : place + draw(st.integers(1, 8))]
        else:
            del damaged[place + 1 :]
        if not damaged:
            break
    return bytes(damaged)
