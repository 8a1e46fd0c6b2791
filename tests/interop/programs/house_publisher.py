"""Says twice that there was motion: by a client, and in one line. Arguments: host, port."""

import sys

import paho.mqtt.client as mqtt
from paho.mqtt import publish

client = mqtt.Client()
client.connect(sys.argv[1], int(sys.argv[2]))
client.publish("ross_house/kitchen/alarm/", "Motion was detected")
client.disconnect()

publish.single("ross_house/kitchen/alarm/", "Motion was detected", hostname=sys.argv[1], port=int(sys.argv[2]))
