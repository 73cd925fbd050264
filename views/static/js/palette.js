// Ctrl-K: find a device, host, alert, job or page by a few letters.
import { word } from "./live.js";

const dialog = document.getElementById("palette");
const input = document.getElementById("palette-q");
const list = document.getElementById("palette-list");
const pages = [...document.querySelectorAll(".rail li a")].map((a) => ({
  name: a.querySelector(".word").textContent, href: a.getAttribute("href"), kind: "page",
}));
let chosen = 0;
let moved = false; // by the arrow keys since the last letter
let asked = 0;
let timer = 0;

function show() {
  if (dialog.open) return;
  dialog.showModal();
  input.select();
  search();
}

async function search() {
  const q = input.value.trim();
  const mine = ++asked;
  const found = pages.filter((p) => p.name.toLowerCase().includes(q.toLowerCase()));
  if (!q) return draw(found);
  const answer = await fetch("/api/nocturne/v1/search?q=" + encodeURIComponent(q)).catch(() => null);
  const d = answer?.ok ? await answer.json() : [];
  if (mine === asked) draw([...(d.results ?? d ?? []), ...found].slice(0, 40));
}

function draw(results) {
  const kept = list.children[chosen]?.dataset.href;
  list.replaceChildren(...results.map((r, i) => {
    const li = document.createElement("li");
    li.role = "option";
    li.id = "palette-" + i;
    li.dataset.href = r.href;
    if (r.state) {
      li.dataset.state = r.state;
      const sh = document.createElement("i");
      sh.className = "sh";
      li.append(sh);
    }
    const name = document.createElement("span");
    name.textContent = r.name;
    const kind = document.createElement("small");
    kind.textContent = r.state ? `${r.kind}, ${word(r.state).toLowerCase()}` : r.kind ?? "";
    li.append(name, kind);
    return li;
  }));
  if (!results.length) {
    const li = document.createElement("li");
    li.role = "option";
    li.setAttribute("aria-disabled", "true");
    li.textContent = "Nothing found";
    list.append(li);
  }
  choose(Math.max(0, results.findIndex((r) => moved && r.href === kept)));
}

function choose(i) {
  const n = list.children.length;
  if (!n) return;
  chosen = (i + n) % n;
  [...list.children].forEach((li, k) => li.setAttribute("aria-selected", String(k === chosen)));
  const li = list.children[chosen];
  input.setAttribute("aria-activedescendant", li.id);
  li.scrollIntoView({ block: "nearest" });
}

const go = (li) => li?.dataset.href && location.assign(li.dataset.href);

document.getElementById("find").addEventListener("click", show);
document.addEventListener("keydown", (e) => {
  if ((e.ctrlKey || e.metaKey) && e.key.toLowerCase() === "k") {
    e.preventDefault();
    show();
  } else if (e.key === "/" && !e.target.closest("input, textarea, select")) {
    e.preventDefault();
    show();
  }
});
input.addEventListener("input", () => {
  moved = false;
  clearTimeout(timer);
  timer = setTimeout(search, 120);
});
input.addEventListener("keydown", (e) => {
  moved ||= e.key.startsWith("Arrow");
  if (e.key === "ArrowDown") choose(chosen + 1);
  else if (e.key === "ArrowUp") choose(chosen - 1);
  else if (e.key === "Enter") go(list.children[chosen]);
  else return;
  e.preventDefault();
});
list.addEventListener("click", (e) => go(e.target.closest("li")));
dialog.addEventListener("click", (e) => e.target === dialog && dialog.close());
