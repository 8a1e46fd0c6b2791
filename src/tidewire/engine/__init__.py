"""The protocol as state machines: bytes and `now` in, bytes on outboxes and effects out.

No socket, no clock, no disk. Times are seconds on one clock that only moves forward; the caller chooses which.
"""
