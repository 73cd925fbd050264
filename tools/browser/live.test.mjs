// What moves on the pages: states as they change, honest staleness, output as
// it is printed, filters, search, the map. Started by TestPagesInBrowser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, open, settled, shot, violations } from "./lib.mjs";

const base = process.env.NOCTURNE_URL;
const only = process.env.NOCTURNE_PAGES !== undefined && !process.env.NOCTURNE_PAGES.includes("live");
let browser;

before(async () => (browser = await launch()));
after(() => browser?.close());

async function visit(path, size) {
  const page = await open(browser, size);
  await page.goto(base + path, { waitUntil: "load" });
  await settled(page);
  return page;
}

async function clean(page) {
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

const still = (on) => fetch(base + "/still", { method: "POST", body: new URLSearchParams({ on }) });

test("states and counters follow the stream", { skip: only }, async () => {
  const page = await visit("/racks", { width: 1920, height: 1080 });
  const cell = page.locator('[data-item="device/srv001-A01"]');
  await page.waitForFunction(() => document.querySelector('[data-item="device/srv001-A01"]').dataset.state === "critical");
  assert.equal(await page.locator('[data-rack][data-item="rack/A01"]').getAttribute("data-state"), "critical");
  await page.waitForFunction(() => Number(document.querySelector('[data-tally="critical"]').textContent) > 90);
  await page.waitForFunction(() => document.querySelectorAll("#changes li").length > 0);
  assert.match(await page.locator("#changes li").first().textContent(), /(Critical|OK) srv001-A01/);
  await cell.focus();
  assert.match(await page.locator("#pick").textContent(), /srv001-A01, A01 U\d+, (critical|ok)/);
  await clean(page);
});

test("a history that turns read-only is said while it is so", { skip: only }, async () => {
  const page = await visit("/racks", { width: 1920, height: 1080 });
  const banner = page.locator("#read-only");
  assert.equal(await banner.isVisible(), false);
  await banner.filter({ hasText: "no room" }).waitFor({ state: "visible", timeout: 15_000 });
  await shot(page, "read-only-wall-1920");
  await banner.waitFor({ state: "hidden", timeout: 15_000 });
  await clean(page);
});

test("a gap in the stream asks for a new snap", { skip: only }, async () => {
  const page = await visit("/alerts");
  let connects = 0;
  page.on("request", (r) => r.url().includes("/live?") && connects++);
  await page.waitForTimeout(9000);
  assert.ok(connects >= 1, `connected ${connects} times again`);
  assert.equal(await page.locator("#stale").isVisible(), false);
  await clean(page);
});

test("silence is said, and ends", { skip: only }, async () => {
  const page = await visit("/racks", { width: 1920, height: 1080 });
  await page.waitForFunction(() => document.getElementById("fresh-word").textContent === "Live");
  await still("yes");
  try {
    const from = Date.now();
    await page.waitForFunction(() => !document.getElementById("stale").hidden, null, { timeout: 13_000 });
    assert.ok(Date.now() - from <= 12_000, "the banner came late");
    await shot(page, "stale-wall-1920");
    assert.match(await page.locator("#stale").innerText(), /DATA IS STALE[\s\S]*No update from the server for 1\d s/);
  } finally {
    await still("no");
  }
  await page.waitForFunction(() => document.getElementById("stale").hidden, null, { timeout: 5000 });
  await clean(page);
});

test("output flows", { skip: only }, async () => {
  const page = await visit("/jobs/rem-1");
  const before = await page.locator("#log-lines li").count();
  await page.waitForFunction((n) => document.querySelectorAll("#log-lines li").length > n + 1, before);
  assert.match(await page.locator("#log-lines li").last().innerText(), /live line \d+/);
  assert.equal(await page.evaluate(() => { const b = document.getElementById("log"); return b.scrollHeight - b.scrollTop - b.clientHeight < 24; }), true);
  await clean(page);
});

test("a chart grows at its right end", { skip: only }, async () => {
  const page = await visit("/device/host/web-03", { width: 1920, height: 1080 });
  await page.waitForFunction(() => [...document.querySelectorAll(".chart-legend b")].some((b) => b.textContent === "40 %"));
  assert.equal(await page.locator("#c-cpu canvas").count(), 1);
  await clean(page);
});

test("a filter leaves its mark in the URL", { skip: only }, async () => {
  const page = await visit("/filtered");
  const all = await page.locator("#device-list tbody tr").count();
  await page.locator("#device-list-q").fill("pdu");
  await page.waitForFunction((n) => document.querySelectorAll("#device-list tbody tr").length < n, all);
  await page.waitForURL(/q=pdu/);
  await page.locator("#f-state").selectOption("critical");
  await page.waitForURL(/state=critical/);
  await page.waitForFunction(() => document.querySelectorAll("#device-list tbody tr").length === 1);
  assert.equal(await page.locator('#device-list-rest').innerText(), '1 device');
  await page.goBack();
  await page.waitForURL((u) => !u.search.includes("state=critical"));
  await clean(page);
});

test("Ctrl-K finds and opens", { skip: only }, async () => {
  const page = await visit("/");
  await page.keyboard.press("Control+k");
  await page.keyboard.type("leaf");
  await page.waitForFunction(() => document.getElementById("palette-list").textContent.includes("leaf4"));
  await page.keyboard.press("ArrowDown");
  await shot(page, "palette-1366");
  await page.keyboard.press("Enter");
  await page.waitForURL(/leaf4/);
  await clean(page);
});

test("the map names what hangs on a node", { skip: only }, async () => {
  const page = await visit("/topology?focus=device/leaf1-03", { width: 1920, height: 1080 });
  await page.waitForSelector("#tip:not([hidden])");
  assert.match(await page.locator("#tip").innerText(), /leaf1-03/);
  assert.ok(await page.locator("svg .link.hot").count() >= 2);
  await shot(page, "topology-focus-1920");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#tip", { state: "hidden" });
  const before = await page.locator("#topo svg").getAttribute("viewBox");
  await page.locator("#zoom-in").click();
  assert.notEqual(await page.locator("#topo svg").getAttribute("viewBox"), before);
  await page.locator("#zoom-all").click();
  assert.equal(await page.locator("#topo svg").getAttribute("viewBox"), before);
  await page.waitForFunction(() => document.querySelector('[data-item="device/spine1-1"] use')?.getAttribute("href") === "#s-critical");
  assert.match(await page.locator('[data-item="device/spine1-1"] title').textContent(), /spine1-1, (Critical|OK)/);
  await clean(page);
});
