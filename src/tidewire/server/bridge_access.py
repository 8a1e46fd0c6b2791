"""Who is a bridge, and what may it do? Our own may do everything and nobody else may take their names; and where
another broker has a bridge to us while we have one to it, it is not sent by both what crosses but once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tidewire.access.control import Policy
from tidewire.engine.connection import Connection
from tidewire.engine.ports import Principal
from tidewire.server.log import logger, quoted
from tidewire.server.verification import Verdict, Verification
from tidewire.wire.codes import ReasonCode
from tidewire.wire.packets import Connect

if TYPE_CHECKING:
    from tidewire.server.bridge_topics import Rules
    from tidewire.server.server import Server

PREFIX: Final = "$bridge/"
"""What the client identifiers of our own bridges begin with, at our own broker."""

MARK: Final = "tidewire-bridge"
"""The User Property that names a broker: in CONNECT the one whose bridge it is, in PUBLISH those it came through."""

GUESTS: Final = 1_000
"""Bridges of other brokers that are remembered; a broker that is bridged to by more is not told apart from others."""


class BridgeAccess(Verification):
    """A policy, for a broker that has bridges."""

    def __init__(self, policy: Policy, server: Server) -> None:
        self._own: set[Connection] = set()
        self._guests: dict[str, str] = {}
        """Client identifier → the broker whose bridge it is."""
        self._reached: dict[str, tuple[str, Rules]] = {}
        """Bridge of ours → the broker that it leads to, and what it sends there."""
        super().__init__(policy, server)

    def adopt(self, policy: Policy) -> None:
        super().adopt(policy)
        self._look_for_pairs()

    # -- what the bridges say

    def expect(self, connection: Connection) -> None:
        """This connection is a bridge's own."""
        self._own.add(connection)

    def forget(self, connection: Connection) -> None:
        """It has ended."""
        self._own.discard(connection)

    def reaches(self, name: str, broker: str, sent: Rules) -> None:
        """A bridge of ours leads to a broker that has bridges itself."""
        if self._reached.get(name) != (broker, sent):
            self._reached[name] = (broker, sent)
            self._look_for_pairs()
            self._server.broker.access_changed()

    # -- what the engine asks

    def authenticate(self, packet: Connect, connection: Connection) -> Verdict | None:
        if connection in self._own:
            return 0, Principal(packet.client_identifier, packet.client_identifier)
        return self._refusal(packet) or super().authenticate(packet, connection)

    def proven(self, packet: Connect, principal: Principal, connection: Connection) -> Verdict | None:
        return self._refusal(packet) or super().proven(packet, principal, connection)

    def admitted(self, principal: Principal, client_identifier: str) -> Principal:
        admitted = super().admitted(principal, client_identifier)
        if client_identifier not in self._guests or admitted.client_identifier == client_identifier:
            return admitted
        own = Principal(admitted.user_name, client_identifier)
        own.expires_at = admitted.expires_at
        own.grants = admitted.grants
        self._server.broker.routes.clear()  # what a session that it resumes is sent is another matter now
        return own

    def may_publish(self, principal: Principal, topic: bytes) -> bool:
        return self._is_free(principal) or super().may_publish(principal, topic)

    def may_keep(self, principal: Principal, client_identifier: str, topic: bytes) -> bool:
        return self._is_free(principal) or super().may_keep(principal, client_identifier, topic)

    def may_subscribe(self, principal: Principal, topic_filter: bytes) -> bool:
        return self._is_free(principal) or super().may_subscribe(principal, topic_filter)

    def may_read(self, principal: Principal, topic: bytes) -> bool:
        if self._comes_another_way(principal.client_identifier, topic):
            return False
        return self._is_free(principal) or super().may_read(principal, topic)

    # -- inside

    def _refusal(self, packet: Connect) -> Verdict | None:
        """Nobody from outside is a bridge of ours; a bridge of another broker is remembered as one."""
        name = packet.client_identifier
        if name.startswith(PREFIX):
            return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, None
        marks = [value for key, value in packet.properties.user_properties if key == MARK]
        session = self._server.broker.sessions.get(name)
        if session is not None and session.connection is not None:
            return None  # whoever this is has not shown yet that the name is its own
        if marks and name and (len(self._guests) < GUESTS or name in self._guests):
            self._guests[name] = marks[0]
        elif not marks:
            self._guests.pop(name, None)
        self._look_for_pairs()
        return None

    def _is_free(self, principal: Principal) -> bool:
        return principal.client_identifier.startswith(PREFIX) or not self.policy.restricted

    def _comes_another_way(self, client_identifier: str, topic: bytes) -> bool:
        """Whether a bridge of ours brings this topic where that client would take it as well."""
        broker = self._guests.get(client_identifier)
        if broker is None:
            return False
        return any(broker == there and sent.keeps_name(topic.decode()) for there, sent in self._reached.values())

    def _look_for_pairs(self) -> None:
        """The engine has to ask about every topic while two brokers bridge to each other."""
        guests = set(self._guests.values())
        pairs = sorted(name for name, (there, _) in self._reached.items() if there in guests)
        unrestricted = not self.policy.restricted and not pairs
        if self.unrestricted and not unrestricted and not self.policy.restricted:
            logger.info(
                "bridge pair names=%s detail=%s",
                quoted(", ".join(pairs)),
                quoted("the other broker has a bridge to here too: what ours sends there, its own does not take"),
            )
        if self.unrestricted != unrestricted:
            self.unrestricted = unrestricted
            self.epoch += 1
