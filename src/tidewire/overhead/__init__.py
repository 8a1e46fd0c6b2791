"""What does a message cost on its way? Exchanges performed on loopback, counted where the bytes pass.

`mqtt.measure` performs those of MQTT, `protocols.measure` the same message by others; `report` is what came of both.
"""
