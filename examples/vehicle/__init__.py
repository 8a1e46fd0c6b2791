"""Boards drive vehicles that are controlled over MQTT; docs/vehicle.md walks through it."""
