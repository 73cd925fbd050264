// The map: the server drew it; here it is moved, enlarged, and asked what
// hangs on what.
import { on, rank, word } from "./live.js";
import "./screen.js";

const box = document.getElementById("topo");
const svg = box?.querySelector("svg");

if (svg) {
  const whole = svg.viewBox.baseVal;
  const all = { x: whole.x, y: whole.y, w: whole.width, h: whole.height };
  const view = { ...all };
  const tip = document.getElementById("tip");
  const links = [...svg.querySelectorAll(".link")];
  const nodes = new Map([...svg.querySelectorAll(".node")].map((n) => [n.dataset.item, n]));
  const name = (n) => n.querySelector("text")?.textContent ?? n.dataset.item;

  const label = (l) => l.dataset.label ?? `${name(nodes.get(l.dataset.a))} to ${name(nodes.get(l.dataset.b))}`;

  const draw = () => {
    svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
    box.classList.toggle("zoomed", all.w / view.w > 1.7);
  };

  const zoom = (factor, cx = view.x + view.w / 2, cy = view.y + view.h / 2) => {
    const f = Math.min(1, Math.max(1 / 24, (view.w * factor) / all.w)) / (view.w / all.w);
    view.x = cx - (cx - view.x) * f;
    view.y = cy - (cy - view.y) * f;
    view.w *= f;
    view.h *= f;
    if (view.w >= all.w * 0.999) Object.assign(view, all);
    draw();
  };

  const point = (e) => new DOMPoint(e.clientX, e.clientY).matrixTransform(svg.getScreenCTM().inverse());

  svg.addEventListener("wheel", (e) => {
    e.preventDefault();
    const p = point(e);
    zoom(e.deltaY > 0 ? 1.18 : 1 / 1.18, p.x, p.y);
  }, { passive: false });

  let grip = null;
  let moved = false;
  svg.addEventListener("pointerdown", (e) => {
    if (e.button !== 0) return;
    grip = point(e);
    moved = false;
  });
  svg.addEventListener("pointermove", (e) => {
    if (!grip) return;
    const p = point(e);
    const dx = grip.x - p.x, dy = grip.y - p.y;
    if (!moved && Math.hypot(dx, dy) < view.w / 250) return;
    if (!moved) svg.setPointerCapture(e.pointerId);
    moved = true;
    svg.classList.add("panning");
    view.x += dx;
    view.y += dy;
    draw();
  });
  addEventListener("pointerup", () => {
    grip = null;
    svg.classList.remove("panning");
  });
  svg.addEventListener("click", (e) => moved && e.preventDefault(), true);

  // spot marks a node or a link with all that hangs on it.
  const spot = (el) => {
    const hot = new Set([el]);
    const lines = [];
    if (el.classList.contains("node")) {
      for (const l of links) {
        if (l.dataset.a !== el.dataset.item && l.dataset.b !== el.dataset.item) continue;
        hot.add(l);
        hot.add(nodes.get(l.dataset.a));
        hot.add(nodes.get(l.dataset.b));
        lines.push([label(l), l.dataset.state]);
      }
    } else {
      hot.add(nodes.get(el.dataset.a));
      hot.add(nodes.get(el.dataset.b));
    }
    unspot();
    svg.classList.add("dimmed");
    for (const h of hot) h?.classList.add("hot");
    const head = document.createElement("b");
    head.textContent = `${el.dataset.a ? label(el) : name(el)}, ${word(el.dataset.state).toLowerCase()}`;
    const list = document.createElement("ul");
    for (const [label, state] of lines.slice(0, 8)) {
      const li = document.createElement("li");
      li.textContent = state === "ok" ? label : `${label}, ${word(state).toLowerCase()}`;
      list.append(li);
    }
    if (lines.length > 8) {
      const li = document.createElement("li");
      li.textContent = `and ${lines.length - 8} more links`;
      list.append(li);
    }
    tip.replaceChildren(head, list);
    tip.hidden = false;
  };
  const unspot = () => {
    svg.classList.remove("dimmed");
    for (const h of svg.querySelectorAll(".hot")) h.classList.remove("hot");
    tip.hidden = true;
  };

  const target = (e) => e.target.closest?.(".node, .link") ?? e.target.querySelector?.(".node");
  svg.addEventListener("pointerover", (e) => target(e) && !grip && spot(target(e)));
  svg.addEventListener("pointerout", (e) => !svg.contains(document.activeElement) && e.target.closest(".node, .link") && unspot());
  svg.addEventListener("focusin", (e) => target(e) && spot(target(e)));
  svg.addEventListener("focusout", unspot);

  document.getElementById("zoom-in").addEventListener("click", () => zoom(0.7));
  document.getElementById("zoom-out").addEventListener("click", () => zoom(1 / 0.7));
  document.getElementById("zoom-all").addEventListener("click", () => {
    Object.assign(view, all);
    draw();
  });
  document.addEventListener("keydown", (e) => {
    if (e.key === "+" || e.key === "=") zoom(0.7);
    else if (e.key === "-") zoom(1 / 0.7);
    else if (e.key === "0") Object.assign(view, all), draw();
    else if (e.key === "Escape") document.activeElement?.blur?.(), unspot();
  });

  const asked = nodes.get(new URLSearchParams(location.search).get("focus"));
  if (asked) asked.closest("a").focus();

  const note = (block) => {
    const count = {};
    for (const n of nodes.values()) if (n.dataset.block === block.dataset.block) count[n.dataset.state] = (count[n.dataset.state] ?? 0) + 1;
    const w = rank.find((s) => count[s]) ?? "ok";
    block.dataset.state = w;
    block.querySelector("[data-note]").textContent = rank.indexOf(w) < 4 ? `${count[w]} ${w}` : "";
  };

  const NS = "http://www.w3.org/2000/svg";
  const num = (el, a) => Number(el.getAttribute(a));

  // place is where a node's shape stands: see node in topology.templ.
  const place = (node) => {
    const c = node.querySelector("circle");
    if (c) return `translate(${num(c, "cx")} ${num(c, "cy")}) scale(${num(c, "r") / 6})`;
    const r = node.querySelector("rect");
    const [x, y, w, h] = ["x", "y", "width", "height"].map((a) => num(r, a));
    if (node.querySelector(".below")) return `translate(${x + w / 2} ${y + h / 2}) scale(${Math.min(w, h) / 22})`;
    const em = num(svg, "font-size");
    return `translate(${x + em} ${y + h / 2}) scale(${em / 19})`;
  };

  const mark = (node, state) => {
    let use = node.querySelector("use");
    if (!use) {
      use = document.createElementNS(NS, "use");
      use.setAttribute("transform", place(node));
      node.querySelector("text").before(use);
      node.prepend(document.createElementNS(NS, "title"));
    }
    use.setAttribute("href", "#s-" + state);
    node.querySelector("title").textContent = `${name(node)}, ${word(state)}`;
  };

  on("state", (_, state, els) => {
    for (const el of els) {
      if (el.classList.contains("node")) mark(el, state);
      const block = el.dataset.block && svg.querySelector(`.block[data-block="${CSS.escape(el.dataset.block)}"]`);
      if (block) note(block);
    }
  });
}
