"""gmqtt under the contract of ../README.md."""

import asyncio
import contextlib
import json
import ssl
import sys
from urllib.parse import urlsplit

import gmqtt
from gmqtt.mqtt.constants import MQTTv50, MQTTv311


async def main(role, url, ca, version, topic, qos, count):
    address = urlsplit(url)
    qos, count = int(qos), int(count)
    will = gmqtt.Message(topic, "gone", qos) if role == "will" else None
    client = gmqtt.Client(f"{role}-{topic}", will_message=will)
    arrived = asyncio.Queue()
    client.on_message = lambda _, topic, payload, qos, properties: arrived.put_nowait((topic, payload, qos, properties))
    client.on_subscribe = lambda *_: tell(event="ready")
    tls = ssl.create_default_context(cafile=ca) if address.scheme == "mqtts" else False
    await client.connect(address.hostname, address.port, ssl=tls, version=MQTTv50 if version == "5.0" else MQTTv311)
    if role == "publish":
        for number in range(count):
            client.publish(topic, f"client {number}", qos)
    elif role == "retain":
        client.publish(topic, "kept", qos, retain=True)
    elif role == "will":
        tell(event="ready")
        await asyncio.Future()
    else:
        client.subscribe(topic, qos)
        for _ in range(count):
            topic, payload, qos, properties = await arrived.get()
            retain = bool(properties["retain"])
            tell(event="message", topic=topic, payload=payload.decode(), qos=qos, retain=retain)
    await unacknowledged(client)
    with contextlib.suppress(ssl.SSLError):  # its own, when the broker's last PUBREL crosses its good-bye
        await client.disconnect()


async def unacknowledged(client):
    """gmqtt has nothing that waits for acknowledgements; it keeps what is not acknowledged."""
    while not client._persistent_storage.is_empty:
        await asyncio.sleep(0.01)


def tell(**event):
    print(json.dumps(event), flush=True)


asyncio.run(main(*sys.argv[1:]))
