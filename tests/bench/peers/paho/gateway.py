"""The canonical work with paho-mqtt: `python3 gateway.py <broker port> <qos>`. It keeps nothing."""

import json
import sys

from paho.mqtt import client as mqtt

PORT, QOS = (int(argument) for argument in sys.argv[1:3])
RH_MAX = 95
# As many publishes in flight as the other gateways have at most, and a queue without a limit.
INFLIGHT = 1000


def on_message(client, _userdata, message):
    reading = json.loads(message.payload)
    if reading["rh"] > RH_MAX:
        return
    reading["t"] = reading["t"] * 1.8 + 32
    topic = "processed/" + message.topic.split("/")[1]
    client.publish(topic, json.dumps(reading, separators=(",", ":")), QOS)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="paho", clean_session=False)
client.max_inflight_messages_set(INFLIGHT)
client.max_queued_messages_set(0)
client.on_connect = lambda client, *_: client.subscribe("sensors/+/raw", QOS)
client.on_message = on_message
client.connect("127.0.0.1", PORT)
client.socket().setsockopt(6, 1, 1)  # TCP_NODELAY
client.loop_forever(retry_first_connection=False)
