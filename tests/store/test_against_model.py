"""Whatever clients do: the file holds what the reference model holds, after every commit and after every kill."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from tests.engine.harness import Peer, World, integers
from tests.store.stores import FileStore, state_of
from tidewire.engine.message import Message
from tidewire.engine.ports import Provenance, StoredSession
from tidewire.store.memory import MemoryStore
from tidewire.wire.codes import PUBACK, PUBCOMP, PUBREC, PUBREL
from tidewire.wire.packets import (
    Acknowledgement,
    Connect,
    Packet,
    Publish,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
)


class ModelledStore(FileStore):
    """Tells a model all that it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.model = MemoryStore()

    def load(self, now: float) -> tuple[list[StoredSession], list[tuple[Message, Provenance]]]:
        sessions, retained = super().load(now)
        for session in sessions:
            mine = StoredSession(session.client_identifier, session.user_name, session.expiry_interval)
            self.model.sessions[session.client_identifier] = mine
            mine.will, mine.will_delay = session.will, session.will_delay
            mine.ends_at, mine.will_at = session.ends_at, session.will_at
            mine.subscriptions = dict(session.subscriptions)
            mine.inflight = dict(session.inflight)
            mine.queue = list(session.queue)
            mine.received = set(session.received)
        for message, provenance in retained:
            self.model.retained_messages[message.topic] = (message, provenance)
        return sessions, retained


def _telling_both(name: str) -> Callable[..., None]:
    def tell(self: ModelledStore, *arguments: Any) -> None:
        getattr(self.model, name)(*arguments)
        getattr(FileStore, name)(self, *arguments)

    return tell


for _name in (
    *("session_kept", "session_ended", "subscribed", "unsubscribed", "retained"),
    *("kept", "sent", "under_way", "released", "settled", "received", "forgotten"),
):
    setattr(ModelledStore, _name, _telling_both(_name))


CLIENTS = st.integers(0, 2)
TOPICS = st.sampled_from(["a", "a/b", "c"])
FILTERS = st.sampled_from(["a", "a/b", "c", "#", "+/b", "$share/group/a"])
QOS = st.integers(0, 2)
SECONDS = st.sampled_from([0, 5, 60])
_ANSWERS = {PUBREC: PUBREL, PUBREL: PUBCOMP}


class Lives(RuleBasedStateMachine):
    """Three clients of a broker that commits now and then, and is killed."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store = ModelledStore(self.directory / "data" / "broker.db")
        self.world = World(store=self.store, queue_messages=4, receive_maximum=2)
        self.safe = self._model_state()
        self.peers: dict[int, Peer] = {}
        self.unanswered: dict[int, list[Packet]] = {}
        self.payloads = 0
        self.identifiers = 0
        self._all_connect()
        for client, topic_filter in enumerate(("#", "#", "a")):
            self.subscribe(client, topic_filter, 2, client == 1, client)
        self.commit()

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @rule(
        client=CLIENTS,
        version=st.sampled_from([4, 5]),
        clean_start=st.sampled_from([False, False, False, True]),
        lasts=st.sampled_from([60, 60, 5, 0]),
        will=st.none() | st.tuples(TOPICS, QOS, st.booleans(), SECONDS, SECONDS),
    )
    def connect(self, client: int, version: int, clean_start: bool, lasts: int, will: Any) -> None:
        fields: dict[str, Any] = {}
        if will is not None:
            topic, qos, retain, delay, expiry = will
            fields["will"] = Will(topic.encode(), b"will", qos, retain)
            if version == 5:
                times = {"will_delay_interval": delay} | ({"message_expiry_interval": expiry} if expiry else {})
                fields["will"].properties = integers(**times)
        if version == 5:
            fields["properties"] = integers(session_expiry_interval=lasts, receive_maximum=2)
        peer = self.peers[client] = self.world.open(version)
        self.unanswered[client] = []
        peer.send(Connect(f"client-{client}", version, clean_start=clean_start, **fields))

    @rule(client=CLIENTS, topic_filter=FILTERS, qos=QOS, as_published=st.booleans(), identifier=st.integers(0, 2))
    def subscribe(self, client: int, topic_filter: str, qos: int, as_published: bool, identifier: int) -> None:
        if peer := self._peer(client):
            subscribe = Subscribe(1, [SubscriptionRequest(topic_filter.encode(), qos)])
            if peer.version == 5:
                subscribe.requests[0].retain_as_published = as_published
                if identifier:
                    subscribe.properties.subscription_identifiers = [identifier]
            peer.send(subscribe)

    @rule(client=CLIENTS, topic_filter=FILTERS)
    def unsubscribe(self, client: int, topic_filter: str) -> None:
        if peer := self._peer(client):
            peer.send(Unsubscribe(1, [topic_filter.encode()]))

    @rule(
        client=CLIENTS,
        topic=TOPICS,
        qos=st.sampled_from([0, 1, 1, 2, 2]),
        retain=st.booleans(),
        expiry=SECONDS,
        is_empty=st.sampled_from([False, False, True]),
    )
    def publish(self, client: int, topic: str, qos: int, retain: bool, expiry: int, is_empty: bool) -> None:
        if peer := self._peer(client):
            self.payloads += 1
            self.identifiers = self.identifiers % 3 + 1  # soon one that is not released yet comes again
            publish = Publish(topic.encode(), b"" if is_empty else b"%d" % self.payloads, qos, retain)
            if qos:
                publish.packet_identifier = self.identifiers
            if expiry and peer.version == 5:
                publish.properties = integers(message_expiry_interval=expiry)
            peer.send(publish)

    @rule(client=CLIENTS, identifier=st.integers(1, 3))
    def release(self, client: int, identifier: int) -> None:
        if peer := self._peer(client):
            peer.acknowledge(PUBREL, identifier)

    @rule(client=CLIENTS, packets=st.integers(1, 8), comes_late=st.booleans())
    def answer(self, client: int, packets: int, comes_late: bool) -> None:
        """What came is answered in order, as far as the client gets."""
        if comes_late:
            self.commit()
        peer = self._peer(client)
        while peer is not None and packets and not peer.is_closed:
            unanswered = self.unanswered[client]
            unanswered += peer.take()
            if not unanswered:
                return
            packets -= 1
            packet = unanswered.pop(0)
            if isinstance(packet, Publish) and packet.qos:
                peer.acknowledge(PUBACK if packet.qos == 1 else PUBREC, packet.packet_identifier)
            elif isinstance(packet, Acknowledgement) and packet.packet_type in _ANSWERS:
                peer.acknowledge(_ANSWERS[packet.packet_type], packet.packet_identifier)

    @rule(client=CLIENTS, says_so=st.booleans())
    def leave(self, client: int, says_so: bool) -> None:
        if peer := self._peer(client):
            if says_so:
                peer.disconnect()
            else:
                peer.lose()
            del self.peers[client]

    @rule(seconds=st.sampled_from([1, 1, 6, 6, 61]))
    def wait(self, seconds: int) -> None:
        self.world.advance(seconds)

    @rule()
    def commit(self) -> None:
        ticket = self.store.commit()
        self.safe = self._model_state()
        if ticket:
            self.world.broker.committed(ticket, self.world.now)
            self.world.flush()

    @rule(commits=st.booleans(), all_return=st.booleans())
    @precondition(lambda self: self.payloads)
    def kill(self, commits: bool, all_return: bool) -> None:
        """What was committed is there again, and nothing else."""
        if commits:
            self.store.commit()
            self.safe = self._model_state()
        survivor = self.store.killed()
        self.store.file.close()
        assert isinstance(survivor, ModelledStore)
        self.store = survivor
        found = state_of(*survivor.load(self.world.now))
        assert survivor.file.set_aside is None
        assert found == self.safe
        again = survivor.killed()
        survivor.file.close()
        self.store = again  # type: ignore[assignment]
        self.world = World(store=again, start=self.world.now, queue_messages=4, receive_maximum=2)
        self.peers.clear()
        if all_return:
            self._all_connect()

    def _all_connect(self) -> None:
        for client, version in enumerate((5, 5, 4)):
            self.connect(client, version, False, 60, None)

    def _peer(self, client: int) -> Peer | None:
        peer = self.peers.get(client)
        return None if peer is None or peer.is_closed else peer

    def _model_state(self) -> dict[str, Any]:
        return state_of(*self.store.model.load(self.world.now))


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
