// What every page of the app has: parts that renew themselves when the stream
// says that something changed, the search palette, menus.
import { forget, on } from "./live.js";
import "./palette.js";

const GAP_MS = 1500;
let timer = 0;
let last = 0;

// renew asks for the page again and takes over the parts that may change. The
// server decides what they say; the page only fetches.
function renew(delay) {
  const at = Math.max(delay, last + GAP_MS - performance.now());
  if (timer) return;
  timer = setTimeout(async () => {
    timer = 0;
    last = performance.now();
    await take().catch(() => {}); // the stale banner speaks for a lost server
  }, at);
}

async function take() {
  const mine = [...document.querySelectorAll("[data-live-refetch]")];
  if (!mine.length || document.hidden) return;
  const asked = location.href;
  const answer = await fetch(asked, { headers: { "X-Nocturne-Renew": "1" } });
  if (answer.redirected) return location.reload();
  if (!answer.ok || asked !== location.href) return;
  const doc = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of mine) replace(old, doc.getElementById(old.id));
  const count = doc.querySelector("[data-alert-count]");
  if (count) setCount(count.textContent);
  forget();
}

function replace(old, fresh) {
  if (!fresh || !old.isConnected || fresh.innerHTML === old.innerHTML) return;
  const active = document.activeElement;
  const held = old.contains(active);
  if (held && active.matches("input, textarea, select")) return;
  if (old.querySelector("details[open]")) return;
  const href = held ? active.getAttribute("href") : null;
  const node = document.adoptNode(fresh);
  old.replaceWith(node);
  window.htmx?.process(node);
  if (href) node.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus();
}

function setCount(n) {
  for (const el of document.querySelectorAll("[data-alert-count]")) {
    el.textContent = n;
    el.dataset.n = n;
  }
}

on("frag", (d) => {
  if (d.count !== undefined) setCount(d.count);
  renew(100);
});
on("job", () => renew(200));
on("delta", () => renew(600));
on("snap", (_, first) => first || renew(0));
setInterval(() => document.documentElement.hasAttribute("data-stale") || renew(0), 15_000);

document.addEventListener("htmx:after:swap", forget);
document.addEventListener("click", (e) => {
  for (const d of document.querySelectorAll("details.menu[open]")) if (!d.contains(e.target)) d.open = false;
  if (e.target.closest("[data-print]")) print();
});
document.addEventListener("keydown", (e) => {
  if (e.key !== "Escape") return;
  for (const d of document.querySelectorAll("details.menu[open]")) {
    d.open = false;
    d.querySelector("summary").focus();
  }
});
