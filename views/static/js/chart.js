// Charts: one uPlot a panel, for the life of the page. History comes from the
// panel's source, the last seconds from the live stream.
import { on, serverNow } from "./live.js";
import { say } from "./units.js";

const LIVE_POINTS = 900; // 15 minutes at 1 s
const DASHES = [[], [10, 4], [3, 3], [14, 4, 3, 4], [6, 6], [1, 4]];
const BINARY = Array.from({ length: 52 }, (_, i) => 2 ** i);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

class Panel {
  constructor(el) {
    this.el = el;
    this.plot = el.querySelector(".plot");
    this.note = el.querySelector(".chart-note");
    this.legend = el.querySelector(".chart-legend");
    this.unit = el.dataset.unit;
    this.series = []; // {key, label, hist, live}
    this.span = 3600;
    this.liveAt = 0;
    this.u = null;
    this.load();
    this.timer = setInterval(() => this.load(), 15_000);
    new ResizeObserver(() => this.u?.setSize(this.size())).observe(this.plot);
  }

  size() {
    return { width: Math.max(200, this.plot.clientWidth), height: this.plot.clientHeight };
  }

  async load() {
    if (document.hidden && this.u) return;
    if (this.u && performance.now() - this.liveAt < 5000 && performance.now() - this.loadedAt < 60_000) return;
    let d;
    try {
      const answer = await fetch(this.el.dataset.src);
      if (!answer.ok) throw new Error(String(answer.status));
      d = await answer.json();
    } catch {
      if (!this.u) this.say("The history cannot be read just now.");
      return;
    }
    this.loadedAt = performance.now();
    if (d.to > d.from) this.span = d.to - d.from;
    this.history(d.series ?? []);
  }

  history(list) {
    const before = new Map(this.series.map((s) => [s.key, s]));
    const same = list.length === this.series.length && list.every((s, i) => this.series[i].key === s.key);
    this.series = list.map((s) => {
      const old = before.get(s.key);
      const pts = s.pts ?? [];
      const end = pts.length ? pts[pts.length - 1][0] : 0;
      return { key: s.key, label: s.label || s.key, hist: pts, live: (old?.live ?? []).filter((p) => p[0] > end) };
    });
    if (list[0]?.unit && !this.unit) this.unit = list[0].unit;
    if (!this.series.length || this.series.every((s) => !s.hist.length && !s.live.length)) {
      this.say(this.el.dataset.empty || "Nothing was measured in this time.");
    } else {
      this.note.hidden = true;
    }
    if (!this.series.length) return;
    if (!this.u) this.build();
    else if (!same) this.reshape();
    this.draw();
  }

  append(list) {
    let any = false;
    for (const { key, pts } of list) {
      const s = this.series.find((x) => x.key === key);
      if (!s) continue;
      for (const p of pts) {
        const newest = s.live.at(-1)?.[0] ?? s.hist.at(-1)?.[0] ?? 0;
        if (p[0] <= newest) continue;
        s.live.push(p);
        any = true;
      }
      if (s.live.length > LIVE_POINTS) s.live.splice(0, s.live.length - LIVE_POINTS);
    }
    if (!any) return;
    this.liveAt = performance.now();
    this.note.hidden = true;
    if (this.u) this.draw();
  }

  line(i) {
    return {
      label: this.series[i].label,
      stroke: css(`--series-${(i % 6) + 1}`),
      width: 1.75,
      dash: DASHES[i % DASHES.length],
      points: { show: false },
    };
  }

  build() {
    const ink = css("--ink-3"), grid = css("--line");
    const font = "12px " + css("--sans");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font };
    this.u = new uPlot({
      ...this.size(),
      padding: [10, 92, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { size: 6 } },
      tzDate: (t) => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
      scales: { x: { range: () => this.xRange() }, y: { range: (_, lo, hi) => this.yRange(lo, hi) } },
      axes: [
        { ...axis, space: 62, size: 30, values: [
          [86400, "{DD} {MMM}", null, null, null, null, null, null, 1],
          [3600, "{HH}:{mm}", "\n{DD} {MMM}", null, null, null, null, null, 1],
          [60, "{HH}:{mm}", null, null, null, null, null, null, 1],
          [1, "{HH}:{mm}:{ss}", null, null, null, null, null, null, 1],
        ] },
        { ...axis, size: (u, vs) => this.room(u, vs), space: 34, ...(this.unit === "bytes" && { incrs: BINARY }), values: (_, vs) => vs.map((v) => say(v, this.unit)) },
      ],
      series: [{}, ...this.series.map((_, i) => this.line(i))],
      hooks: { draw: [(u) => this.endLabels(u)], setCursor: [(u) => this.values(u.cursor.idx)] },
    }, [[0], ...this.series.map(() => [null])], this.plot);
    this.drawLegend();
  }

  reshape() {
    while (this.u.series.length > 1) this.u.delSeries(1);
    this.series.forEach((_, i) => this.u.addSeries(this.line(i), i + 1));
    this.drawLegend();
  }

  // xRange is the whole range, or what there is of it on a machine that has not
  // watched for so long.
  xRange() {
    const now = serverNow() / 1000;
    const first = Math.min(...this.series.map((s) => (s.hist[0] ?? s.live[0])?.[0] ?? now));
    return [Math.max(now - this.span, Math.min(first, now - 300)), now];
  }

  // room is what the longest label of the axis needs, and never less than
  // before, so that the plot does not move.
  room(u, labels) {
    u.ctx.save();
    u.ctx.font = "12px " + css("--sans");
    const widest = Math.max(0, ...(labels ?? []).map((l) => u.ctx.measureText(l).width));
    u.ctx.restore();
    return (this.widest = Math.max(this.widest ?? 56, Math.ceil(widest) + 16));
  }

  yRange(lo, hi) {
    if (this.unit === "percent") return [0, Math.max(100, hi ?? 0)];
    if (lo === null || hi === null || lo === undefined) return [0, 1];
    const floor = lo >= 0 ? 0 : lo * 1.1;
    return [floor, hi <= floor ? floor + 1 : hi + (hi - floor) * 0.12];
  }

  draw() {
    const from = serverNow() / 1000 - this.span;
    const tables = this.series.map((s) => {
      const pts = [...s.hist, ...s.live].filter((p) => p[0] >= from);
      return [pts.map((p) => p[0]), pts.map((p) => p[1])];
    });
    this.u.setData(tables.length === 1 ? tables[0] : uPlot.join(tables));
    this.values(null);
  }

  // endLabels names each line at its end, pushed apart where they meet.
  endLabels(u) {
    const ratio = devicePixelRatio || 1;
    const ends = [];
    this.series.forEach((s, i) => {
      const p = s.live.at(-1) ?? s.hist.at(-1);
      if (p && p[1] !== null) ends.push({ y: u.valToPos(p[1], "y", true), text: s.label, i });
    });
    ends.sort((a, b) => a.y - b.y);
    const gap = 14 * ratio;
    for (let k = 1; k < ends.length; k++) ends[k].y = Math.max(ends[k].y, ends[k - 1].y + gap);
    const floor = u.bbox.top + u.bbox.height;
    for (let k = ends.length - 1, limit = floor; k >= 0; k--, limit -= gap) ends[k].y = Math.min(ends[k].y, limit);
    const { ctx } = u;
    ctx.save();
    ctx.font = `600 ${11.5 * ratio}px ${css("--sans")}`;
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    const x = u.bbox.left + u.bbox.width + 8 * ratio;
    for (const e of ends) {
      ctx.fillStyle = css(`--series-${(e.i % 6) + 1}`);
      let text = e.text;
      while (text.length > 3 && ctx.measureText(text).width > 82 * ratio) text = text.slice(0, -2) + "…";
      ctx.fillText(text, x, e.y);
    }
    ctx.restore();
  }

  drawLegend() {
    const ns = "http://www.w3.org/2000/svg";
    this.legend.replaceChildren(...this.series.map((s, i) => {
      const li = document.createElement("li");
      const svg = document.createElementNS(ns, "svg");
      svg.setAttribute("viewBox", "0 0 26 8");
      svg.setAttribute("aria-hidden", "true");
      const line = document.createElementNS(ns, "path");
      line.setAttribute("d", "M0 4H26");
      line.setAttribute("stroke", css(`--series-${(i % 6) + 1}`));
      line.setAttribute("stroke-width", "2.5");
      line.setAttribute("stroke-dasharray", DASHES[i % DASHES.length].join(" "));
      svg.append(line);
      const label = document.createElement("span");
      label.textContent = s.label;
      const value = document.createElement("b");
      li.append(svg, label, value);
      return li;
    }));
  }

  // values writes each line's value at the cursor, or its newest.
  values(idx) {
    this.series.forEach((s, i) => {
      const v = idx === null || idx === undefined ? (s.live.at(-1) ?? s.hist.at(-1))?.[1] : this.u.data[i + 1]?.[idx];
      const b = this.legend.children[i]?.querySelector("b");
      if (b) b.textContent = say(v, this.unit);
    });
  }

  say(text) {
    this.note.textContent = text;
    this.note.hidden = false;
  }
}

const panels = [...document.querySelectorAll("[data-chart]")].map((el) => new Panel(el));

on("points", (d) => {
  for (const p of panels) {
    if (p.el.dataset.itemSeries !== d.item) continue;
    if (d.panel && p.el.dataset.panel && d.panel !== p.el.dataset.panel) continue;
    p.append(d.series ?? []);
  }
});
