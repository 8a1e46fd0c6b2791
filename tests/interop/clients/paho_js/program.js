// Paho's JavaScript client under the contract of ../README.md, in a page, and in Node with what it misses there.
function work(Paho, words, tell) {
  const [role, url, , , topic, qosText, count] = words;
  const qos = Number(qosText);
  const client = new Paho.Client(url, `${role}-${topic}`);
  const message = (payload, retained) => {
    const result = new Paho.Message(payload);
    return Object.assign(result, { destinationName: topic, qos, retained });
  };
  return new Promise((resolve, reject) => {
    const payloads = role === "retain" ? ["kept"] : Array.from({ length: Number(count) }, (_, number) => `client ${number}`);
    let left = payloads.length;
    const one = () => {
      if (--left === 0) setTimeout(() => client.disconnect()); // at QoS 0 it says that it has sent, and then sends
    };
    const fail = ({ errorMessage }) => reject(new Error(errorMessage));
    client.onConnectionLost = ({ errorCode, errorMessage }) => (errorCode ? reject(new Error(errorMessage)) : resolve());
    if (role === "publish" || role === "retain") client.onMessageDelivered = one;
    client.onMessageArrived = (arrived) => {
      const { destinationName, payloadString, retained } = arrived;
      tell({ event: "message", topic: destinationName, payload: payloadString, qos: arrived.qos, retain: retained });
      one();
    };
    client.connect({
      mqttVersion: 4,
      ...(role === "will" && { willMessage: message("gone", false) }), // it refuses undefined
      onFailure: fail,
      onSuccess: () => {
        if (role === "subscribe") client.subscribe(topic, { qos, onSuccess: () => tell({ event: "ready" }), onFailure: fail });
        else if (role === "will") tell({ event: "ready" });
        else for (const payload of payloads) client.send(message(payload, role === "retain"));
      },
    });
  });
}

if (typeof module === "undefined") {
  window.run = (words, tell) => work(window.Paho, words, tell);
} else {
  const words = process.argv.slice(2);
  const WebSocket = require("ws");
  const ca = require("fs").readFileSync(words[2]);
  global.WebSocket = class extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { ca });
    }
  };
  const kept = new Map();
  global.localStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
    removeItem: (key) => kept.delete(key),
  };
  work(require("paho-mqtt"), words, (event) => console.log(JSON.stringify(event))).catch((error) => {
    console.error(error);
    process.exit(1);
  });
}
