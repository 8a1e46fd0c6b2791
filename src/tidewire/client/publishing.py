"""What does the session get of a message that the program publishes, and which messages are refused at once?"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from tidewire.client.errors import NotConnected, PublishError, reason
from tidewire.client.options import PublishOptions, check_qos, encode_payload, publish_properties
from tidewire.engine.client_session import Publication
from tidewire.wire import properties as p
from tidewire.wire.codes import V5, ReasonCode
from tidewire.wire.packets import Connack

if TYPE_CHECKING:
    from tidewire.client.lifecycle import Lifecycle


class Publishing:
    """Messages on their way into the session of one client."""

    def __init__(self, life: Lifecycle) -> None:
        self.retain_available = True
        self._maximum_qos = 2
        self._settings = life.settings
        self._session = life.session
        self._traffic = life.traffic

    def publish(self, topic: str, payload: Any, qos: int, retain: bool, options: PublishOptions) -> Publication | None:
        """Send a message or queue it; None: there is no room. Raises PublishError, InvalidTopic, ValueError."""
        if type(payload) is not bytes:
            payload = encode_payload(payload)
        properties = b""
        expires_at = 0.0
        now = monotonic()
        if qos not in (0, 1, 2):
            check_qos(qos)
        if qos > self._maximum_qos or (retain and not self.retain_available):
            self._refuse(topic, qos)
        if options:
            if self._settings.level != V5:
                raise ValueError(
                    f"{', '.join(options)}: only MQTT 5.0 has properties; the client speaks {self._settings.version}"
                )
            given = publish_properties(options)
            expiry = given.integers.pop(p.MESSAGE_EXPIRY_INTERVAL, None)
            expires_at = now + expiry if expiry is not None else 0.0
            properties = given.encode_body()
        publication = self._session.publish(topic, payload, qos, retain, properties, expires_at, now)
        traffic = self._traffic
        if not traffic.flush_planned:
            traffic.plan_flush()
        return publication

    def check_online(self) -> None:
        """Raise NotConnected if there is no connection and the program wants to know (`offline="raise"`)."""
        if self._session.connection is None and self._settings.offline == "raise":
            raise NotConnected("there is no connection at the moment")

    # -- what the connection calls

    def admitted(self, packet: Connack) -> None:
        """CONNACK came: what the server takes (3.2.2.3.4, 3.2.2.3.5)."""
        self._maximum_qos = packet.properties.integers.get(p.MAXIMUM_QOS, 2)
        self.retain_available = packet.properties.flag(p.RETAIN_AVAILABLE, True)

    # -- inside

    def _refuse(self, topic: str, qos: int) -> None:
        if qos > self._maximum_qos:
            code, told = ReasonCode.QOS_NOT_SUPPORTED, f"QoS {self._maximum_qos} at most"
        else:
            code, told = ReasonCode.RETAIN_NOT_SUPPORTED, "no retained messages"
        raise PublishError(code, f"publish to {topic!r}: {reason(code)}: the server takes {told}")
