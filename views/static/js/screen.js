// What a display needs that nobody touches for weeks: no sleep, no burnt-in
// picture, a fresh page each night, and the last changes in words.
import { on, word } from "./live.js";

const KEEP = 7;
const changes = document.getElementById("changes");
let settled = false;

on("snap", () => setTimeout(() => (settled = true)));
on("state", (id, state, els) => {
  if (!settled || !changes) return;
  if (!/^(device|host|instance|hypervisor)\//.test(id)) return;
  const li = document.createElement("li");
  li.dataset.state = state;
  const sh = document.createElement("i");
  sh.className = "sh";
  sh.ariaHidden = "true";
  li.append(sh, ` ${word(state)} ${els[0]?.dataset.name ?? id.slice(id.indexOf("/") + 1)}`);
  changes.prepend(li);
  while (changes.children.length > KEEP) changes.lastChild.remove();
});

async function awake() {
  try {
    await navigator.wakeLock?.request("screen");
  } catch {
    // refused without a gesture on some displays: their own settings decide
  }
}
awake();
document.addEventListener("visibilitychange", () => document.hidden || awake());

let step = 0;
setInterval(() => {
  document.body.classList.remove("shift-" + step);
  step = (step + 1) % 4;
  document.body.classList.add("shift-" + step);
}, 180_000);

const night = new Date();
night.setHours(28, 0, 0, 0);
setTimeout(() => location.reload(), (night - Date.now()) % 86_400_000 + Math.random() * 600_000);
