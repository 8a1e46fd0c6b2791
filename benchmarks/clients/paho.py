"""The work in paho-mqtt: its own thread does the reading and writing (`loop_start`)."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.clients.work import HOST, SETTLE_S, TOPIC, Work

WINDOW: Final = 50  # more is slower: it goes through all that is in flight at every acknowledgement


def publish_qos0(work: Work) -> None:
    client = connected(work)
    for payload in work.warm_up:
        client.publish(TOPIC, payload)
    time.sleep(SETTLE_S)
    with work.timed():
        for payload in work.payloads:
            sent = client.publish(TOPIC, payload)
        sent.wait_for_publish()
    leave(client)


def publish_qos1(work: Work) -> None:
    client = connected(work)
    room = threading.Semaphore(WINDOW)
    client.on_publish = lambda *_: room.release()
    publish_all(client, room, work.warm_up)
    with work.timed():
        publish_all(client, room, work.payloads)
    leave(client)


def publish_all(client: mqtt.Client, room: threading.Semaphore, payloads: list[bytes]) -> None:
    for payload in payloads:
        room.acquire()
        client.publish(TOPIC, payload, qos=1)
    for _ in range(WINDOW):
        room.acquire()
    room.release(WINDOW)


def receive(work: Work) -> None:
    client = connected(work)
    count = 0
    warm_up, total = len(work.warm_up), work.messages_in_all
    done = threading.Event()

    def on_message(_client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        nonlocal count
        count += 1
        if count == warm_up:
            work.start()
        elif count == total:
            work.stop()
            work.came(bytes(message.payload))
            done.set()

    client.on_message = on_message
    client.on_subscribe = lambda *_: work.ready()
    client.subscribe(TOPIC)
    done.wait()
    leave(client)


def queue(work: Work) -> None:
    client = connected(work)
    with work.queueing() as count:
        for payload in work.fresh_payloads():
            if client.publish(TOPIC, payload, qos=1).rc == mqtt.MQTT_ERR_QUEUE_SIZE:
                break
            count()
        time.sleep(SETTLE_S)


def connected(work: Work) -> mqtt.Client:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.max_inflight_messages_set(WINDOW)
    welcome = threading.Event()
    client.on_connect = lambda *_: welcome.set()
    client.connect(HOST, work.port)
    client.loop_start()
    welcome.wait()
    return client


def leave(client: mqtt.Client) -> None:
    client.disconnect()
    client.loop_stop()
