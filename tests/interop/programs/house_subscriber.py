"""Watches a house: two temperatures and an alarm, with a will for when it goes offline. Arguments: host, port."""

import sys

import paho.mqtt.client as mqtt


def on_connect(client, userdata, flags, rc):
    client.subscribe("ross_house/living_room/temperature")
    client.subscribe("ross_house/kitchen/temperature")
    client.subscribe("ross_house/kitchen/alarm/")


def on_message(client, userdata, msg):
    print(msg.topic + " " + msg.payload.decode(), flush=True)


client = mqtt.Client()
client.on_connect = on_connect
client.on_message = on_message
client.will_set("Alarm/Iam/Offline", "the house is offline", 2)
client.connect(sys.argv[1], int(sys.argv[2]), 60)
client.loop_forever()
