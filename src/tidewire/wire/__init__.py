"""Bytes to packets and back: the MQTT format, without state.

Versions are the protocol level on the wire: 3 (MQTT 3.1), 4 (MQTT 3.1.1), 5 (MQTT 5.0).
"""
