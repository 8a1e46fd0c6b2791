"""aiomqtt under the contract of ../README.md."""

import asyncio
import json
import sys
from urllib.parse import urlsplit

import aiomqtt


async def main(role, url, ca, version, topic, qos, count):
    address = urlsplit(url)
    qos, count = int(qos), int(count)
    async with aiomqtt.Client(
        address.hostname,
        address.port,
        identifier=f"{role}-{topic}",
        protocol=aiomqtt.ProtocolVersion.V5 if version == "5.0" else aiomqtt.ProtocolVersion.V311,
        transport="websockets" if address.scheme in {"ws", "wss"} else "tcp",
        websocket_path=address.path,
        tls_params=aiomqtt.TLSParameters(ca_certs=ca) if address.scheme in {"mqtts", "wss"} else None,
        will=aiomqtt.Will(topic, "gone", qos) if role == "will" else None,
    ) as client:
        if role == "publish":
            for number in range(count):
                await client.publish(topic, f"client {number}", qos)
        elif role == "retain":
            await client.publish(topic, "kept", qos, retain=True)
        elif role == "will":
            tell(event="ready")
            await asyncio.Future()
        else:
            await client.subscribe(topic, qos)
            tell(event="ready")
            messages = aiter(client.messages)
            for _ in range(count):
                message = await anext(messages)
                payload = message.payload.decode()
                tell(event="message", topic=str(message.topic), payload=payload, qos=message.qos, retain=message.retain)


def tell(**event):
    print(json.dumps(event), flush=True)


asyncio.run(main(*sys.argv[1:]))
