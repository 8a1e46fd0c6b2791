"""The work in awscrt, whose MQTT 5 client is written in C and has threads of its own: `publish` gives a future."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from awscrt import mqtt5

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work

WINDOW: Final = 1000


def publish_qos0(work: Work) -> None:
    client = connected(work)
    publish_all(client, mqtt5.QoS.AT_MOST_ONCE, work.warm_up)
    time.sleep(SETTLE_S)
    with work.timed():
        publish_all(client, mqtt5.QoS.AT_MOST_ONCE, work.payloads)
    leave(client)


def publish_qos1(work: Work) -> None:
    client = connected(work)
    publish_all(client, mqtt5.QoS.AT_LEAST_ONCE, work.warm_up)
    with work.timed():
        publish_all(client, mqtt5.QoS.AT_LEAST_ONCE, work.payloads)
    leave(client)


def publish_all(client: mqtt5.Client, qos: mqtt5.QoS, payloads: list[bytes]) -> None:
    """It queues without an end, and is the slower for it; a window is faster at QoS 0 too."""
    room = threading.Semaphore(WINDOW)

    def make_room(_: Future[mqtt5.PublishCompletionData]) -> None:
        room.release()

    for payload in payloads:
        room.acquire()
        packet = mqtt5.PublishPacket(topic=TOPIC, payload=payload, qos=qos)
        client.publish(packet).add_done_callback(make_room)
    for _ in range(WINDOW):
        room.acquire()
    room.release(WINDOW)


def receive(work: Work) -> None:
    count = 0
    warm_up, total = len(work.warm_up), work.messages_in_all
    done = threading.Event()

    def on_publish(data: mqtt5.PublishReceivedData) -> None:
        nonlocal count
        count += 1
        if count == warm_up:
            work.start()
        elif count == total:
            work.stop()
            work.came(data.publish_packet.payload)
            done.set()

    client = connected(work, on_publish)
    client.subscribe(
        mqtt5.SubscribePacket(subscriptions=[mqtt5.Subscription(topic_filter=TOPIC, qos=mqtt5.QoS.AT_MOST_ONCE)])
    ).result()
    work.ready()
    done.wait()
    leave(client)


def queue(work: Work) -> None:
    client = connected(work)
    with work.queueing() as count:
        for payload in work.fresh_payloads():
            client.publish(mqtt5.PublishPacket(topic=TOPIC, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE))
            count()
        time.sleep(SETTLE_S)


def connected(work: Work, on_publish: Callable[[mqtt5.PublishReceivedData], None] | None = None) -> mqtt5.Client:
    welcome = threading.Event()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name=HOST,
            port=work.port,
            connect_options=mqtt5.ConnectPacket(client_id=""),
            on_publish_callback_fn=on_publish,
            on_lifecycle_event_connection_success_fn=lambda _: welcome.set(),
            disable_metrics=True,
        )
    )
    client.start()
    welcome.wait()
    return client


def leave(client: mqtt5.Client) -> None:
    client.stop()
