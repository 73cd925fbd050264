// One stream a page: states and counters as they change, and an honest word
// when nothing comes. Nothing here parses HTML, so walls may load it.

const STALE_MS = 10_000;
const words = { critical: "Critical", major: "Major", warning: "Warning", unknown: "Unknown", maintenance: "Maintenance", ok: "OK" };
export const rank = ["critical", "major", "warning", "unknown", "maintenance", "ok"];

const wall = document.body.hasAttribute("data-wall");
const root = document.documentElement;
const handlers = new Map();
let source = null;
let retry = 0;
let seq = null;
let lastEvent = performance.now();
let lastData = 0; // server time of the last event, ms
let offset = 0; // server clock minus ours, ms
let everOpen = false;
let index = null;

// on registers fn for an event of the stream: snap, delta, points, line, job,
// frag, hb, or for "state", called with (id, state, elements) for each change.
export function on(event, fn) {
  if (!handlers.has(event)) handlers.set(event, []);
  handlers.get(event).push(fn);
}

function emit(event, ...args) {
  for (const fn of handlers.get(event) ?? []) fn(...args);
}

export const serverNow = () => Date.now() + offset;
export const word = (state) => words[state] ?? words.unknown;

// forget drops the index of elements; call it after changing the page.
export function forget() {
  index = null;
}

function elements(id) {
  if (!index) {
    index = new Map();
    for (const el of document.querySelectorAll("[data-item]")) {
      const list = index.get(el.dataset.item);
      if (list) list.push(el);
      else index.set(el.dataset.item, [el]);
    }
  }
  return index.get(id) ?? [];
}

function setState(id, state) {
  const known = words[state] ? state : "unknown";
  const els = elements(id);
  let changed = false;
  for (const el of els) {
    if (el.dataset.state === known) continue;
    changed = true;
    el.dataset.state = known;
    for (const c of el.children) if (c.classList.contains("word")) c.textContent = words[known];
  }
  if (changed) emit("state", id, known, els);
}

function setTally(tally) {
  if (!tally) return;
  for (const el of document.querySelectorAll("[data-tally]")) {
    const n = tally[el.dataset.tally] ?? 0;
    if (el.textContent === String(n)) continue;
    el.textContent = n;
    el.parentElement.classList.toggle("nil", n === 0);
  }
}

const receive = {
  snap(d) {
    seq = d.seq ?? null;
    const first = !everOpen;
    everOpen = true;
    for (const [id, state] of Object.entries(d.items ?? {})) setState(id, state);
    setTally(d.tally);
    newBuild(d.build);
    emit("snap", d, first);
  },
  delta(d) {
    if (seq !== null && d.seq !== seq + 1) return reconnect();
    seq = d.seq;
    for (const [id, state] of d.ch ?? []) setState(id, state);
    setTally(d.tally);
    emit("delta", d);
  },
  hb(d) {
    const banner = document.getElementById("read-only");
    if (d.readOnly !== undefined) banner.hidden = !(banner.children[1].textContent = d.readOnly);
    emit("hb", d);
  },
  resync() {
    reconnect();
  },
};

// A new build of the program asks for its own pages, once each.
function newBuild(build) {
  if (!build || !root.dataset.build || build === root.dataset.build) return;
  if (sessionStorage.getItem("build") === build) return;
  sessionStorage.setItem("build", build);
  if (wall) location.reload();
}

function topics() {
  const all = new Set(document.body.dataset.topics.split(",").filter(Boolean));
  for (const el of document.querySelectorAll("[data-item-series]")) {
    if (el.dataset.itemSeries) all.add("chart:" + el.dataset.itemSeries);
  }
  for (const el of document.querySelectorAll("[data-job]")) all.add("job:" + el.dataset.job);
  return [...all].join(",");
}

function open() {
  clearTimeout(retry);
  source?.close();
  seq = null;
  source = new EventSource("/live?topics=" + encodeURIComponent(topics()));
  for (const name of ["snap", "delta", "points", "line", "job", "frag", "hb", "resync"]) {
    source.addEventListener(name, (e) => {
      lastEvent = performance.now();
      const d = e.data ? JSON.parse(e.data) : {};
      if (d.t) offset = d.t * (d.t < 1e11 ? 1000 : 1) - Date.now();
      lastData = serverNow();
      if (receive[name]) receive[name](d);
      else emit(name, d);
      freshness();
    });
  }
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) retry = setTimeout(open, 2000 + Math.random() * 1000);
  };
}

function reconnect() {
  source?.close();
  retry = setTimeout(open, 200 + Math.random() * 300);
}

function close() {
  clearTimeout(retry);
  source?.close();
  source = null;
}

const hhmmss = (ms) => new Date(ms).toISOString().slice(11, 19);

function freshness() {
  const age = performance.now() - lastEvent;
  const stale = age > STALE_MS;
  const label = document.getElementById("fresh-word");
  const text = stale ? `Last data ${Math.floor(age / 1000)} s ago` : everOpen ? "Live" : "Connecting";
  if (label && label.textContent !== text) label.textContent = text;
  const clock = document.getElementById("clock");
  if (clock) clock.textContent = hhmmss(serverNow());
  const banner = document.getElementById("stale");
  if (banner) {
    if (stale) {
      const since = lastData ? ` Last data at ${hhmmss(lastData)} UTC.` : "";
      document.getElementById("stale-text").textContent =
        `No update from the server for ${Math.floor(age / 1000)} s. What you see may be wrong.${since}`;
    }
    banner.hidden = !stale;
  }
  if (stale) root.dataset.stale = "";
  else delete root.dataset.stale;
}

function start() {
  open();
  setInterval(freshness, 1000);
}

addEventListener("pagehide", close);
addEventListener("pageshow", (e) => e.persisted && open());
if (!wall) {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return close();
    if (!source) {
      lastEvent = performance.now();
      open();
    }
  });
}
if (document.readyState === "complete") start();
else addEventListener("DOMContentLoaded", start, { once: true });
