// What MQTT.js does in Node and in a page: messages at each QoS, a large one, a retained one. Resolves to what arrived.
async function work(mqtt, url, version) {
  const client = await mqtt.connectAsync(url, { protocolVersion: version, reconnectPeriod: 0, connectTimeout: 20000 }, false);
  const topic = `js/${version}/${Math.random()}`;
  const large = "x".repeat(300000);
  const arrived = [];
  const all = new Promise((resolve, reject) => {
    client.on("error", reject);
    client.on("close", () => reject(new Error("closed")));
    client.on("message", (name, payload, packet) => {
      const text = payload.length === large.length ? "large" : payload.toString();
      arrived.push(`${text} qos=${packet.qos} retain=${packet.retain}`);
      if (arrived.length === 5) resolve();
    });
  });
  await client.publishAsync(`${topic}/retained`, "retained", { qos: 1, retain: true });
  await client.subscribeAsync(`${topic}/#`, { qos: 2 });
  for (const qos of [0, 1, 2]) await client.publishAsync(`${topic}/${qos}`, `at ${qos}`, { qos });
  await client.publishAsync(`${topic}/large`, large, { qos: 1 });
  await all;
  const result = [...arrived]; // what follows clears the retained message, and is heard too
  await client.publishAsync(`${topic}/retained`, "", { qos: 1, retain: true });
  await client.endAsync();
  return result;
}

if (typeof module !== "undefined") module.exports = work;
