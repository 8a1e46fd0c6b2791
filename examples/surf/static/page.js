// What does a spectator see? Messages of the broker become cards, a leader board and the sea.

import { Subscriber } from "./mqtt.js";

const LIVE_POINTS = 240; // of a ride that goes on
const LAST_SCORES = 8;
const TALL_FT = 9, FAST_MPH = 30; // the height of a chart
const PUBLIC = ["boards/#", "rides/#", "leaders", "bills", "end"].map((what) => `surf/public/${what}`);

const $ = (id) => document.getElementById(id);
const title = (name) => name[0].toUpperCase() + name.slice(1);
const surfers = new Map(); // by name: what is known of each
let leaders = { rides: 0, standings: [] };
let scores = [];
let over = false; // the heat is, every ride handed in
let drawing = false;

const heat = await (await fetch("heat.json")).json();
$("heat").textContent = heat.id;
for (const name of heat.surfers) surfer(name);
new Subscriber(heat.websocket, PUBLIC, receive, show);

function show(state) {
  if (over) state = "final"; // whether or not there still is a broker
  $("live").textContent = state === "away" ? "away, coming back" : state;
  $("live").dataset.state = state;
}

function surfer(name) {
  if (!surfers.has(name)) {
    const card = $("card").content.cloneNode(true).firstElementChild;
    card.querySelector("h3").textContent = title(name);
    $("surfers").append(card);
    const dot = document.createElement("span");
    dot.textContent = title(name)[0];
    $("lineup").append(dot);
    surfers.set(name, { name, card, dot, reading: null, live: [], last: null, link: "", bill: null });
  }
  return surfers.get(name);
}

function receive(topic, payload) {
  const [, , kind, name, what] = topic.split("/");
  if (kind === "boards" && what === "link") surfer(name).link = payload;
  else if (kind === "boards") read(surfer(name), JSON.parse(payload));
  else if (kind === "rides") scored(surfer(name), JSON.parse(payload));
  else if (kind === "leaders") lead(JSON.parse(payload));
  else if (kind === "end") end(payload);
  else for (const bill of JSON.parse(payload)) surfer(bill.surfer).bill = bill;
  if (!drawing) requestAnimationFrame(draw);
  drawing = true;
}

function read(one, reading) {
  if (one.reading && reading.at < one.reading.at) return; // it came late
  if (reading.state === "riding") {
    if (one.reading?.wave !== reading.wave || one.reading?.state !== "riding") one.live = [];
    one.live.push([reading.at, reading.speed_mph, reading.altitude_ft]);
    one.live = one.live.slice(-LIVE_POINTS);
  }
  one.reading = reading;
}

function scored(one, { ride, score }) {
  if (one.last && ride.at <= one.last.ride.at) return; // it is known, or came late
  one.last = { ride, score };
  scores = [{ ride, score }, ...scores].sort((a, b) => b.ride.at - a.ride.at).slice(0, LAST_SCORES);
  $("spoken").textContent = `${title(one.name)}: ${score.toFixed(2)} points for wave ${ride.wave}`;
}

function lead(board) {
  if (board.heat === heat.id && board.rides >= leaders.rides) leaders = board;
}

function end(id) {
  if (id !== heat.id) return; // of an earlier heat on the same broker
  over = true;
  show("final");
}

function draw() {
  drawing = false;
  surfers.forEach(drawCard);
  drawLineup();
  drawLeaders();
  const all = [...surfers.values()];
  const cost = all.reduce((sum, one) => sum + (one.bill?.dollars ?? 0), 0);
  $("waves").textContent = leaders.rides;
  $("water").textContent = over ? 0 : all.filter((one) => one.reading).length;
  $("cost").textContent = `$${cost.toFixed(2)}`;
}

function drawCard(one) {
  const { card, bill } = one;
  const find = (selector) => card.querySelector(selector);
  const reading = over ? null : one.reading; // what was said last is not so any more
  const link = over ? "" : one.link;
  const state = over ? "ashore" : reading?.state ?? "not heard yet";
  card.dataset.state = state;
  find(".state").textContent = state;
  find(".speed b").textContent = number(reading, "speed_mph");
  find(".altitude").textContent = number(reading, "altitude_ft");
  find(".temperature").textContent = number(reading, "water_f");
  drawChart(one, state === "riding");
  find(".link").textContent = link === "lost" ? "link lost" : link === "up" ? `link up, ${heat.link}` : "";
  find(".link").dataset.state = link;
  find(".bill").textContent = bill ? `$${bill.dollars.toFixed(3)} of $${bill.budget_dollars.toFixed(2)}` : "";
  const meter = find("meter");
  meter.value = bill ? bill.dollars / bill.budget_dollars : 0;
  meter.setAttribute("aria-label", `Budget of ${title(one.name)}’s link`);
}

function drawChart(one, riding) {
  const points = riding ? one.live : one.last?.ride.points ?? one.live;
  const svg = one.card.querySelector("svg");
  const caption = riding
    ? `riding wave ${one.reading.wave}`
    : one.last ? `wave ${one.last.ride.wave}: ${one.last.score.toFixed(2)} points, ${one.last.ride.outcome}` : "no ride yet";
  one.card.querySelector("figcaption").textContent = caption;
  svg.querySelector("title").textContent = `${title(one.name)}, ${caption}: altitude and speed over time`;
  if (points.length < 2) return;
  const first = points[0][0];
  const across = 320 / Math.max(points.at(-1)[0] - first, riding ? 8 : 1);
  const line = (column, tall) => points
    .map((point) => `${((point[0] - first) * across).toFixed(1)} ${(94 - Math.min(1, Math.max(0, point[column]) / tall) * 88).toFixed(1)}`)
    .join("L");
  const end = ((points.at(-1)[0] - first) * across).toFixed(1);
  svg.querySelector(".area").setAttribute("d", `M0 96L${line(2, TALL_FT)}L${end} 96Z`);
  svg.querySelector(".trace").setAttribute("d", `M${line(1, FAST_MPH)}`);
}

function drawLineup() {
  $("lineup").hidden = over;
  [...surfers.values()].forEach(({ dot, reading, live }, place) => {
    const riding = reading?.state === "riding";
    const run = riding && live.length ? Math.min(1, (reading.at - live[0][0]) / 15) : 0;
    dot.style.left = `${((place + 0.5 + run * 0.6) / surfers.size) * 100}%`;
    dot.style.bottom = `${16 + (Math.max(0, reading?.altitude_ft ?? 0) / TALL_FT) * 60}%`;
    dot.dataset.state = reading?.state ?? "";
  });
}

function drawLeaders() {
  if (!leaders.standings.length && over) $("headline").textContent = "Nobody rode a wave";
  if (!leaders.standings.length) return;
  const [first] = leaders.standings;
  $("headline").textContent = `${title(first.surfer)} ${over ? "wins" : "leads"} with ${first.total.toFixed(2)}`;
  $("leaders").replaceChildren(...leaders.standings.map((one, place) => {
    const row = document.createElement("tr");
    const best = one.best.map((score) => score.toFixed(2)).join(" + ");
    for (const [kind, value] of [["td", place + 1], ["th", title(one.surfer)], ["td", best], ["td", one.total.toFixed(2)]]) {
      const cell = row.appendChild(document.createElement(kind));
      cell.textContent = value;
      if (kind === "th") {
        cell.scope = "row";
        const waves = cell.appendChild(document.createElement("span"));
        waves.className = "quiet";
        waves.textContent = `${one.waves} wave${one.waves > 1 ? "s" : ""}, ${one.top_mph.toFixed(0)} mph`;
      }
    }
    return row;
  }));
  $("scores").replaceChildren(...scores.map(({ ride, score }) => {
    const item = document.createElement("li");
    item.append(title(ride.surfer), Object.assign(document.createElement("span"), { className: "quiet", textContent: ` wave ${ride.wave}` }));
    item.append(Object.assign(document.createElement("b"), { textContent: score.toFixed(2) }));
    item.dataset.outcome = ride.outcome;
    return item;
  }));
}

function number(reading, name) {
  return reading ? reading[name].toFixed(1) : "–";
}
