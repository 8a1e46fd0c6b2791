"""What can be done about messages that are dropped? A plain hint for each reason of the ledger."""

from __future__ import annotations

from typing import Final

HINTS: Final = {
    "queue full": "A client is away, or slower than what it subscribes to. Let it subscribe to less, or raise "
    "queue_messages or queue_bytes in [limits].",
    "expired": "The publisher gave these messages a time, and it was over before they could be delivered. Nothing, if "
    "that was meant so; else a longer Message Expiry Interval.",
    "too large": "A client has said that it takes no packets of this size (Maximum Packet Size). Raise it there, or "
    "send smaller messages.",
    "no permission": "The access rules do not allow it. `tidewire access explain` says which rule decides.",
    "slow consumer": "A client does not read QoS 0 messages as fast as they come. Is its network slow? It may "
    "subscribe to less, or at QoS 1; outbox_bytes in [limits] lets more wait.",
    "session ended": "Messages waited for a session that was ended or has expired. A longer Session Expiry Interval "
    "keeps it until its client comes back.",
    "retained full": "There is no room for another retained message. Delete old ones (see Retained), or raise "
    "retained_messages or retained_bytes in [limits].",
    "rate exceeded": "A client publishes faster than publish_messages_per_s or publish_bytes_per_s in [limits] allow.",
    "budget exceeded": "A client has used up its [[meter.budget]] of this day or month. See Overhead, or "
    "`tidewire meter`.",
}
"""Of every reason of the ledger."""
