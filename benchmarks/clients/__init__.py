"""Tidewire's client beside the other MQTT clients for Python: one file for each, the same four kinds of work in all."""
