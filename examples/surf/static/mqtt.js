// How does a page hear MQTT? A client of 3.1.1 over WebSocket that subscribes with QoS 0, and comes back by itself.

const CONNACK = 2, PUBLISH = 3, SUBACK = 9;
const KEEP_ALIVE_S = 30;
const AGAIN_FIRST_S = 0.5, AGAIN_MAXIMUM_S = 15;
const PACKET_MAXIMUM = 1 << 20; // what is larger is none of ours

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class Subscriber {
  // filters: topic filters; onMessage(topic, payload as text); onState("live" | "away" | "refused")
  constructor(url, filters, onMessage, onState) {
    Object.assign(this, { url, filters, onMessage, onState, again: AGAIN_FIRST_S });
    this.open();
  }

  open() {
    this.bytes = new Uint8Array();
    this.heard = Date.now();
    const socket = this.socket = new WebSocket(this.url, "mqtt");
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.send(0x10, [...text("MQTT"), 4, 2, 0, KEEP_ALIVE_S, ...text("")]);
    socket.onmessage = (event) => this.receive(new Uint8Array(event.data));
    socket.onclose = () => this.comeBack();
    this.pinging = setInterval(() => this.ping(), (KEEP_ALIVE_S * 1000) / 2);
  }

  ping() {
    if (Date.now() - this.heard > KEEP_ALIVE_S * 1500) this.socket.close();
    else if (this.socket.readyState === WebSocket.OPEN) this.send(0xc0, []);
  }

  comeBack() {
    clearInterval(this.pinging);
    this.onState("away");
    setTimeout(() => this.open(), this.again * 1000 * (0.5 + Math.random() / 2)); // not all spectators at once
    this.again = Math.min(this.again * 2, AGAIN_MAXIMUM_S);
  }

  send(head, body) {
    const length = [];
    for (let rest = body.length; length.push((rest & 127) | (rest > 127 ? 128 : 0)), rest > 127; ) rest >>= 7;
    this.socket.send(new Uint8Array([head, ...length, ...body]));
  }

  receive(data) {
    this.heard = Date.now();
    const bytes = new Uint8Array(this.bytes.length + data.length);
    bytes.set(this.bytes);
    bytes.set(data, this.bytes.length);
    let start = 0;
    for (let found; (found = packet(bytes, start)); start = found.end) {
      if (found.length > PACKET_MAXIMUM) return this.socket.close();
      if (found.end > bytes.length) break;
      this.take(bytes[start], bytes.subarray(found.body, found.end));
    }
    this.bytes = bytes.slice(start);
  }

  take(head, body) {
    const kind = head >> 4;
    if (kind === CONNACK) {
      if (body[1] !== 0) return this.onState("refused");
      this.again = AGAIN_FIRST_S;
      this.send(0x82, [0, 1, ...this.filters.flatMap((filter) => [...text(filter), 0])]);
    } else if (kind === SUBACK) {
      this.onState(body.subarray(2).includes(0x80) ? "refused" : "live");
    } else if (kind === PUBLISH) {
      const topicEnd = 2 + (body[0] << 8 | body[1]);
      this.onMessage(decoder.decode(body.subarray(2, topicEnd)), decoder.decode(body.subarray(topicEnd)));
    }
  }
}

function text(value) {
  const bytes = encoder.encode(value);
  return [bytes.length >> 8, bytes.length & 255, ...bytes];
}

// Where the packet that begins at `start` has its body and its end; undefined while its length is not there.
function packet(bytes, start) {
  let length = 0;
  for (let at = start + 1, shift = 0; at < bytes.length && shift < 28; at++, shift += 7) {
    length += (bytes[at] & 127) << shift;
    if (bytes[at] < 128) return { body: at + 1, end: at + 1 + length, length };
  }
}
