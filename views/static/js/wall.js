// The rack wall: a rack's own state is the worst of its cells; a rack whose
// sources are silent is hatched.
import { on, rank, serverNow, word } from "./live.js";
import "./screen.js";

const racks = [...document.querySelectorAll("[data-rack]")];

function worst(rack) {
  let w = rank.length - 1;
  for (const c of rack.querySelectorAll(".cell, .flank")) w = Math.min(w, rank.indexOf(c.dataset.state));
  return rank[w];
}

on("state", (_, __, els) => {
  for (const el of els) {
    const rack = el.closest("[data-rack]");
    if (rack && rack !== el) rack.dataset.state = worst(rack);
  }
});

// A cell that is pointed at or focused is named below: small ones show no name.
const pick = document.getElementById("pick");
function name(e) {
  const cell = e.target.closest?.(".cell, .flank");
  if (!cell) return;
  const rack = cell.closest("[data-rack]").querySelector("header a").textContent;
  const u = /(?:^| )u(\d+)/.exec(cell.className)?.[1];
  pick.textContent = `${cell.textContent}, ${rack}${u ? ` U${u}` : ""}, ${word(cell.dataset.state).toLowerCase()}`;
}
document.addEventListener("pointerover", name);
document.addEventListener("focusin", name);
document.addEventListener("pointerout", () => (pick.textContent = ""));

// asOf holds the newest sample of each target, in unix seconds.
function age(d) {
  if (!d.asOf) return;
  const now = serverNow() / 1000;
  for (const rack of racks) {
    let newest = 0;
    for (const c of rack.querySelectorAll("[data-target]")) newest = Math.max(newest, d.asOf[c.dataset.target] ?? 0);
    if (newest) rack.classList.toggle("stale", now - newest > Number(rack.dataset.staleAfter));
  }
}
on("snap", age);
on("delta", age);
on("hb", age);
