"""mosquitto_pub and mosquitto_sub under the contract of ../README.md."""

import json
import subprocess
import sys
from urllib.parse import urlsplit

role, url, ca, version, topic, qos, count = sys.argv[1:]
address = urlsplit(url)
where = ["-h", address.hostname, "-p", str(address.port), "-V", {"3.1.1": "311", "5.0": "5"}[version]]
where += ["--cafile", ca] if address.scheme == "mqtts" else []
where += ["-i", f"{role}-{topic}", "-q", qos, "-t"]

if role == "publish":
    lines = "".join(f"client {number}\n" for number in range(int(count)))
    subprocess.run(["mosquitto_pub", *where, topic, "-l"], input=lines, text=True, check=True)
elif role == "retain":
    subprocess.run(["mosquitto_pub", *where, topic, "-r", "-m", "kept"], check=True)
else:
    if role == "will":  # it says that it has subscribed, and by that that it has connected
        command = ["mosquitto_sub", *where, "nothing", "--will-topic", topic, "--will-payload", "gone"]
        command += ["--will-qos", qos]
    else:
        command = ["mosquitto_sub", *where, topic, "-C", count]
    command = ["stdbuf", "-oL", *command, "-d", "-F", "message %q %r %t %p"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("Subscribed"):
                print(json.dumps({"event": "ready"}), flush=True)
            elif line.startswith("message "):
                _, qos, retain, name, payload = line.rstrip("\n").split(" ", 4)
                event = {"topic": name, "payload": payload, "qos": int(qos), "retain": retain == "1"}
                print(json.dumps({"event": "message", **event}), flush=True)
    sys.exit(process.returncode)
