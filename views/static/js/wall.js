// The rack wall: a rack's own state is the worst of its cells; a rack whose
// sources are silent is hatched.
import { on, rank, serverNow } from "./live.js";
import "./screen.js";

const racks = [...document.querySelectorAll("[data-rack]")];

function worst(rack) {
  let w = rank.length - 1;
  for (const c of rack.querySelectorAll(".cell")) w = Math.min(w, rank.indexOf(c.dataset.state));
  return rank[w];
}

on("state", (_, __, els) => {
  for (const el of els) {
    const rack = el.closest("[data-rack]");
    if (rack && rack !== el) rack.dataset.state = worst(rack);
  }
});

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
