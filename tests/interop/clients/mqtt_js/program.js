// MQTT.js under the contract of ../README.md, in Node and in a page.
async function work(mqtt, words, certificate, tell) {
  const [role, url, , version, topic, qosText, count] = words;
  const qos = Number(qosText);
  const client = mqtt.connect(url, {
    clientId: `${role}-${topic}`,
    protocolVersion: version === "5.0" ? 5 : 4,
    reconnectPeriod: 0,
    ca: certificate,
    will: role === "will" ? { topic, payload: "gone", qos, retain: false } : undefined,
  });
  const arrived = new Promise((resolve, reject) => {
    client.on("error", reject);
    let left = Number(count);
    client.on("message", (name, payload, packet) => {
      tell({ event: "message", topic: name, payload: payload.toString(), qos: packet.qos, retain: packet.retain });
      if (--left === 0) resolve();
    });
  });
  await Promise.race([new Promise((resolve) => client.on("connect", resolve)), arrived]);
  if (role === "publish") {
    for (let number = 0; number < Number(count); number++) await client.publishAsync(topic, `client ${number}`, { qos });
  } else if (role === "retain") {
    await client.publishAsync(topic, "kept", { qos, retain: true });
  } else if (role === "will") {
    tell({ event: "ready" });
    return new Promise(() => {});
  } else {
    await client.subscribeAsync(topic, { qos });
    tell({ event: "ready" });
    await arrived;
  }
  await client.endAsync();
}

if (typeof module === "undefined") {
  window.run = (words, tell) => work(window.mqtt, words, undefined, tell);
} else {
  const words = process.argv.slice(2);
  work(require("mqtt"), words, require("fs").readFileSync(words[2]), (event) => console.log(JSON.stringify(event))).catch(
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}
