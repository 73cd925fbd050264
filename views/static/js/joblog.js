// The output of a job as it is printed: appended in batches, the end kept in
// sight while "Follow" is on, the oldest lines dropped beyond the cap.
import { on } from "./live.js";

const CAP = 5000;
const box = document.getElementById("log");
const list = document.getElementById("log-lines");
const follow = document.getElementById("log-follow");
const wrap = document.getElementById("log-wrap");
const counter = document.getElementById("log-count");
const empty = document.getElementById("log-empty");
let newest = Number(list.lastElementChild?.dataset.seq ?? 0);
let dropped = Number(box.dataset.dropped);
let queue = [];

function line(d) {
  const li = document.createElement("li");
  li.dataset.seq = d.seq;
  const part = (cls, text) => {
    const s = document.createElement("span");
    if (cls) s.className = cls;
    s.textContent = text;
    li.append(s);
    return s;
  };
  part("t", new Date(d.at ?? Date.now()).toISOString().slice(11, 19));
  part("h", d.host ?? "").title = `${d.host}, ${d.step}`;
  part("", d.text ?? "");
  return li;
}

function flush() {
  const fresh = queue.slice(-CAP);
  dropped += queue.length - fresh.length;
  queue = [];
  list.append(...fresh.map(line));
  while (list.childElementCount > CAP) {
    list.firstElementChild.remove();
    dropped++;
  }
  empty.hidden = list.childElementCount > 0;
  const n = list.childElementCount;
  counter.textContent = dropped ? `last ${n} lines, ${dropped} older not shown` : n === 1 ? "1 line" : `${n} lines`;
  if (follow.checked) box.scrollTop = box.scrollHeight;
}

function add(d) {
  if (d.job !== box.dataset.job || d.seq <= newest) return;
  newest = d.seq;
  if (!queue.length) setTimeout(flush, 80);
  queue.push(d);
}

// catchUp takes from the page what was printed while the stream was away.
async function catchUp() {
  const answer = await fetch(location.href).catch(() => null);
  if (!answer?.ok) return;
  const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const li of doc.querySelectorAll("#log-lines > li")) {
    if (Number(li.dataset.seq) <= newest) continue;
    newest = Number(li.dataset.seq);
    list.append(document.adoptNode(li));
  }
  flush();
}

on("line", add);
on("snap", catchUp);
wrap.addEventListener("change", () => box.classList.toggle("wrap", wrap.checked));
follow.addEventListener("change", () => follow.checked && (box.scrollTop = box.scrollHeight));
box.addEventListener("scroll", () => {
  follow.checked = box.scrollHeight - box.scrollTop - box.clientHeight < 24;
}, { passive: true });
flush();
