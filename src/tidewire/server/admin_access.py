"""What may somebody see and publish who is no client: a `Viewer`, under the broker's own access rules?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidewire.engine.broker import Broker
from tidewire.engine.ports import Principal, Undecided
from tidewire.server.admin_types import Viewer

VIEWER: Final = "$viewer"
"""The client identifier that rules with `%c` see: no rule for a client is for who has none."""


def principal_of(broker: Broker, viewer: Viewer) -> Principal:
    """Who the rules are asked about."""
    return broker.access.admitted(Principal(viewer.user_name, VIEWER), VIEWER)


def may_publish(broker: Broker, viewer: Viewer, topic: bytes) -> bool:
    """Whether the rules allow it; a call-out is not asked for a viewer, and allows nothing."""
    try:
        return broker.access.unrestricted or broker.access.may_publish(principal_of(broker, viewer), topic)
    except Undecided:
        return False


def may_subscribe(broker: Broker, viewer: Viewer, topic_filter: bytes) -> bool:
    """The same of subscribing: false where no topic of the filter may be read."""
    try:
        return broker.access.unrestricted or broker.access.may_subscribe(principal_of(broker, viewer), topic_filter)
    except Undecided:
        return False


def reader(broker: Broker, viewer: Viewer | None) -> Callable[[bytes], bool] | None:
    """Answers whether a topic may be read; None: all may."""
    access = broker.access
    if viewer is None or access.unrestricted:
        return None
    principal = principal_of(broker, viewer)
    return lambda topic: access.may_read(principal, topic)
