"""Paho's Python client under the contract of ../README.md."""

import json
import sys
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

role, url, ca, version, topic, qos, count = sys.argv[1:]
address = urlsplit(url)
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=f"{role}-{topic}",
    protocol=mqtt.MQTTv5 if version == "5.0" else mqtt.MQTTv311,
    transport="websockets" if address.scheme in {"ws", "wss"} else "tcp",
)
client.ws_set_options(address.path)
if address.scheme in {"mqtts", "wss"}:
    client.tls_set(ca)


def tell(**event):
    print(json.dumps(event), flush=True)


def on_message(client, _, message):
    global left  # noqa: PLW0603
    payload = message.payload.decode()
    tell(event="message", topic=message.topic, payload=payload, qos=message.qos, retain=message.retain)
    left -= 1
    if not left:
        client.disconnect()


left = int(count)
client.on_message = on_message
client.on_subscribe = lambda *_: tell(event="ready")
if role == "subscribe":
    client.on_connect = lambda client, *_: client.subscribe(topic, int(qos))
elif role == "will":
    client.will_set(topic, "gone", int(qos))
    client.on_connect = lambda *_: tell(event="ready")

client.connect(address.hostname, address.port)
if role in {"publish", "retain"}:
    client.loop_start()
    retain = role == "retain"
    for payload in ["kept"] if retain else [f"client {number}" for number in range(left)]:
        client.publish(topic, payload, int(qos), retain).wait_for_publish()
    client.disconnect()
    client.loop_stop()
else:
    client.loop_forever()
