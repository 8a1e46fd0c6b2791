"""Tidewire: MQTT for Python, whole."""

__version__ = "0.1.0"
