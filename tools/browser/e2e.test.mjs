// The product as a newcomer uses it: from the set-up link to a loop that
// closes before one's eyes. Started by TestBrowser, which runs the house on a
// lab and a control server beside it. On every page: nothing in the console,
// no violation of the policy, none of axe's, and pictures at two sizes.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { axe, launch, open, settled, shot, violations } from "./lib.mjs";

const control = process.env.NOCTURNE_CONTROL;
const ask = async (path, method = "GET") => {
  const answer = await fetch(control + path, { method });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${text}`);
  return text ? JSON.parse(text) : null;
};
const truth = await ask("/truth");
const { base } = truth;
const PASSWORD = "correct horse battery";
const WALL = { width: 1920, height: 1080 };

// A random generator from the lab's seed, so that a run can be had again.
let state = Number(BigInt(truth.seed) % 2147483647n) || 1;
const random = (n) => (state = (state * 48271) % 2147483647) % n;
const any = (list) => list[random(list.length)];

let browser, admin; // admin is the context that the administrator is signed in to

before(async () => (browser = await launch()));
after(() => browser?.close());
// A page that a failed test left open would hold one of the browser's six
// connections.
afterEach(async () => {
  for (const context of browser.contexts()) for (const page of context.pages()) await page.close();
});

// visit opens a page of the signed-in administrator, or of another context.
async function visit(path, { context = admin, ...size } = {}) {
  const page = await open(browser, { context, ...size });
  await page.addInitScript(keepPlots);
  await page.goto(base + path, { waitUntil: "load" });
  await settled(page);
  return page;
}

// keepPlots remembers what uPlot draws, to be asked about.
function keepPlots() {
  globalThis.plots = [];
  let real;
  Object.defineProperty(globalThis, "uPlot", {
    configurable: true,
    get: () => real,
    set: (v) => (real = new Proxy(v, { construct: (t, args) => {
      const u = new t(...args);
      globalThis.plots.push(u);
      return u;
    } })),
  });
}

const live = (page) => page.waitForFunction(() => document.getElementById("fresh-word")?.textContent === "Live");

// inspect holds a page against what every page must be, and takes its picture.
async function inspect(page, name) {
  for (const [width, height] of [[1366, 768], [1920, 1080]]) {
    await page.setViewportSize({ width, height });
    await settled(page);
    await shot(page, `${name}-${width}`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${name} is wider than ${width}`);
    if (width === 1366) assert.equal((await axe(page)).join("\n"), "", name);
  }
  await clean(page, name);
}

async function clean(page, name) {
  assert.deepEqual(await violations(page), [], name);
  assert.deepEqual(page.faults, [], name);
}

// look visits, inspects and leaves.
async function look(path, name, ready) {
  const page = await visit(path);
  await live(page);
  if (ready) await ready(page);
  await inspect(page, name);
  await page.close();
}

async function signIn(page, name, password) {
  await page.locator("#in-name").fill(name);
  await page.locator("#in-password").fill(password);
  await page.locator("main button.primary").click();
}

async function signOut(page) {
  await page.locator(".user summary").click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(base + "/login**");
}

test("the set-up link makes the first administrator, once", async () => {
  admin = await browser.newContext();
  const page = await visit(truth.setup.slice(base.length));
  await inspect(page, "setup");
  page.allow(/status of 400/);
  await page.locator("#in-name").fill("ada");
  await page.locator("#in-password").fill(PASSWORD);
  await page.locator("#in-again").fill("something else");
  await page.locator("main button.primary").click();
  await page.getByText("The two passwords differ").waitFor();
  await page.locator("#in-password").fill(PASSWORD);
  await page.locator("#in-again").fill(PASSWORD);
  await page.locator("main button.primary").click();
  await page.waitForURL(base + "/");
  assert.match(await page.locator(".user").innerText(), /AD|ada/i);
  await clean(page, "after set-up");
  await page.goto(truth.setup);
  await page.getByText("This link is spent").waitFor();
  await clean(page, "a spent link");
  await page.close();
});

test("sign out, and in again", async () => {
  const page = await visit("/");
  await signOut(page);
  await inspect(page, "login");
  page.allow(/status of 401/);
  await signIn(page, "ada", "not the password");
  await page.getByText(/name or the password is wrong/i).waitFor();
  await inspect(page, "login-wrong");
  await signIn(page, "ada", PASSWORD);
  await page.waitForURL(base + "/");
  await page.goto(base + "/");
  await clean(page, "signed in");
  await page.close();
});

test("the overview has live data", async () => {
  const page = await visit("/");
  await live(page);
  const things = truth.racks.flatMap((r) => r.contents).length;
  // Everything was seen: each thing of the hall, and this machine.
  await page.waitForFunction((n) => Number(document.querySelector('[data-tally="ok"]').textContent) > n, things, { timeout: 40_000 });
  await page.waitForFunction(() => document.querySelectorAll("#tiles .tile").length >= 4, null, { timeout: 40_000 });
  await page.waitForFunction(() => /\d/.test(document.getElementById("sources").textContent));
  assert.equal(await page.locator(".hall a").count(), truth.racks.length);
  for (const tile of await page.locator("#tiles .tile b").allInnerTexts()) assert.match(tile, /\d/);
  await page.waitForFunction(() => document.querySelectorAll("[data-chart] canvas").length > 0);
  const clock = await page.locator("#clock").textContent();
  await page.waitForFunction((t) => document.getElementById("clock").textContent !== t, clock);
  await inspect(page, "overview");
  await page.close();
});

test("the rack wall shows each thing where it stands", async () => {
  const page = await visit("/racks", WALL);
  await live(page);
  const drawn = await page.evaluate(() => [...document.querySelectorAll("[data-rack]")].map((r) => ({
    name: r.dataset.item,
    cells: [...r.querySelectorAll(".cell")].map((c) => ({
      id: c.dataset.item, state: c.dataset.state, u: Number(/(?:^| )u(\d+)/.exec(c.className)[1]), height: Number(/(?:^| )h(\d+)/.exec(c.className)[1]),
      seen: c.getBoundingClientRect().height > 4, inside: c.getBoundingClientRect().bottom <= r.getBoundingClientRect().bottom + 1,
    })),
  })));
  const order = (list) => list.toSorted((a, b) => (a.name ?? a.id).localeCompare(b.name ?? b.id));
  const placed = (r) => order(r.contents.filter((c) => c.u > 0).map(({ id, u, height }) => ({ id, u, height })));
  assert.deepEqual(
    order(drawn).map((r) => ({ name: r.name, cells: order(r.cells.filter((c) => c.u > 0).map(({ id, u, height }) => ({ id, u, height }))) })),
    order(truth.racks).map((r) => ({ name: `rack/${r.name}`, cells: placed(r) })),
  );
  for (const c of drawn.flatMap((r) => r.cells)) assert.ok(c.seen && c.inside && c.state === "ok", JSON.stringify(c));
  await inspect(page, "racks");
  await page.close();
});

test("one rack, front and both faces", async () => {
  const rack = any(truth.racks);
  await look(`/rack/rack/${rack.name}`, "rack", (page) =>
    page.waitForFunction((n) => document.querySelectorAll("table tbody tr").length >= n, rack.contents.filter((c) => c.u > 0).length));
  await look(`/rack/rack/${rack.name}?face=both`, "rack-both");
});

test("the topology is the wiring", async () => {
  const page = await visit("/topology", WALL);
  await live(page);
  const want = truth.wiring.map(([a, b]) => `link/${a}|${b}`).sort();
  let drawn = [];
  for (const until = Date.now() + 20_000; Date.now() < until && drawn.length < want.length;) {
    drawn = (await page.evaluate(() => [...document.querySelectorAll("svg path.link")].map((l) => l.dataset.item))).sort();
    if (drawn.length < want.length) await page.reload({ waitUntil: "load" });
  }
  assert.deepEqual(drawn, want);
  // A link joins the devices that it says, and stops at their edges.
  const loose = await page.evaluate(() => {
    const box = (id) => document.querySelector(`.node[data-item="${id}"]`)?.getBBox();
    const at = (p, b) => b && p.x > b.x - 12 && p.x < b.x + b.width + 12 && p.y > b.y - 12 && p.y < b.y + b.height + 12;
    return [...document.querySelectorAll("svg path.link")].filter((l) => {
      const a = l.getPointAtLength(0), b = l.getPointAtLength(l.getTotalLength());
      const A = box(l.dataset.a), B = box(l.dataset.b);
      return !(at(a, A) && at(b, B)) && !(at(a, B) && at(b, A));
    }).map((l) => l.dataset.item);
  });
  assert.deepEqual(loose, []);
  await inspect(page, "topology");
  await page.close();
});

// moving waits until a chart draws history and the seconds as they come.
async function moving(page) {
  await page.waitForFunction(() => globalThis.plots.length > 0 && globalThis.plots.some((u) => {
    const now = Date.now() / 1000, t = u.data[0].filter((x, i) => u.data.slice(1).some((s) => s[i] !== null && s[i] !== undefined));
    return now - t.at(-1) < 4 && t.filter((x) => now - x < 8).length >= 5 && t.some((x) => now - x > 20);
  }), null, { timeout: 45_000 });
  // What uPlot holds is on the canvas: series have ink near the right end.
  const bare = await page.evaluate(() => globalThis.plots.map((u) => {
    const { left, top, width, height } = u.bbox;
    const { data } = u.ctx.getImageData(left + width - 12, top, 12, height);
    let ink = 0;
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 200 && Math.max(data[i], data[i + 1], data[i + 2]) > 150) ink++;
    return ink;
  }));
  assert.ok(bare.some((ink) => ink > 3), `ink at the right end: ${bare}`);
}

test("a device and a host draw history and the live seconds", async () => {
  const leaf = any(truth.racks.flatMap((r) => r.contents).filter((c) => c.role === "leaf"));
  const [device, host] = await Promise.all([visit("/device/" + leaf.id), visit("/device/host/" + any(truth.hosts).name)]);
  for (const [page, name] of [[device, "device"], [host, "host"]]) {
    await page.bringToFront();
    await live(page);
    await moving(page);
    await inspect(page, name);
    await page.close();
  }
});

// follow keeps each text that a part of the page has had since now, also while
// nobody asks; followed tells them. A page that was loaded again has none.
const follow = (page, selector, attribute) => page.evaluate(([selector, attribute]) => {
  const had = (globalThis.had = []);
  const note = () => {
    const el = document.querySelector(selector);
    const now = (attribute ? el?.getAttribute(attribute) : el?.innerText)?.trim().toLowerCase() ?? "";
    if (now !== had.at(-1)) had.push(now);
  };
  note();
  new MutationObserver(note).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
}, [selector, attribute]);
const followed = (page) => page.evaluate(() => globalThis.had);
const becomes = (page, text, timeout) => page.waitForFunction((t) => globalThis.had.at(-1) === t, text, { timeout })
  .catch(async (e) => { throw new Error(`${new URL(page.url()).pathname} was ${JSON.stringify(await followed(page))}, wants ${text} at last: ${e.message}`); });

test("a fault is seen, repaired and proved before one's eyes", async () => {
  const victim = any(truth.hosts), unit = any(victim.services), id = `host/${victim.name}`;
  const alerts = await visit("/alerts");
  const wall = await visit("/racks", WALL);
  await live(wall);
  await live(alerts);
  await inspect(alerts, "alerts-before");
  const mine = `#alert-list tbody a[href="/device/${id}"]`;
  assert.equal(await alerts.locator(mine).count(), 0);
  await follow(alerts, mine);
  await follow(wall, `.cell[data-item="${id}"]`, "data-state");
  const begin = Date.now();
  await ask(`/stop?host=${victim.name}&unit=${unit}`, "POST");

  const row = alerts.locator("#alert-list tbody tr", { hasText: victim.name }).filter({ hasText: unit });
  const remedy = row.locator('a[href^="/jobs/"]');
  await remedy.waitFor({ timeout: 40_000 });
  const href = await remedy.getAttribute("href");
  const job = await visit(href);
  await follow(job, "#job-state .hero > :first-child");
  const first = await job.locator("#log-lines li").count();
  await job.waitForFunction((n) => document.querySelectorAll("#log-lines li").length > n + 1, first, { timeout: 10_000 });
  await shot(job, "job-running-1366");
  await becomes(job, "succeeded", 60_000);
  await becomes(alerts, "", 30_000);
  await becomes(wall, "ok", 30_000);
  const took = (Date.now() - begin) / 1000;
  const phases = await followed(job);
  console.log(`from fault to a quiet wall: ${took.toFixed(1)} s; the job page said ${phases.join(", ")}`);
  assert.ok(took < 60, `the loop took ${took} s`);
  assert.ok(phases.length >= 2 && phases[0] !== "succeeded" && phases.at(-1) === "succeeded", "the phase changes by itself");
  assert.deepEqual(await followed(alerts), ["", victim.name, ""]);
  assert.deepEqual(await followed(wall), ["ok", "critical", "ok"]);
  assert.equal(await wall.locator("[data-rack]", { has: wall.locator(`.cell[data-item="${id}"]`) }).getAttribute("data-state"), "ok");
  const told = await wall.locator("#changes li").allInnerTexts();
  assert.ok(told.some((t) => t.includes("Critical") && t.includes(victim.name)), `the wall tells of ${told}`);
  await job.waitForFunction(() => [...document.querySelectorAll("#log-lines li")].some((l) => l.lastElementChild.textContent === "active"));
  await job.waitForFunction(() => /cleared/i.test(document.querySelector("#job-proof").innerText));
  await inspect(job, "job");
  const ran = (await ask("/journal")).filter((e) => e.Host === victim.name && e.Command === `systemctl restart '${unit}'`);
  assert.equal(ran.length, 1);
  assert.equal(await ask(`/service?host=${victim.name}&unit=${unit}`), "active");

  const incident = await job.locator('a[href^="/incidents/"]').first().getAttribute("href");
  for (const page of [alerts, wall, job]) {
    await clean(page, "at the end of the loop");
    await page.close();
  }
  await look(incident, "incident", async (page) => {
    await page.waitForFunction(() => document.querySelectorAll(".loop li").length >= 5 && [...document.querySelectorAll(".loop li")].every((s) => s.dataset.stage === "done"), null, { timeout: 20_000 });
    assert.equal(await page.locator(`.loop a[href="${href}"]`).count(), 1);
    assert.equal(await page.locator('.loop a[href^="/alerts/"]').count(), 1);
    assert.match(await page.locator("#incident-side").innerText(), new RegExp(victim.name));
  });
  await look("/alerts?phase=resolved", "alerts-resolved");
  await look("/jobs", "jobs", (page) => page.getByText(victim.name).first().waitFor());
});

test("a remedy that does not repair says so", async (t) => {
  await ask("/break?mode=fails", "POST");
  t.after(() => ask("/break?mode=", "POST"));
  const victim = any(truth.hosts), unit = any(victim.services);
  const alerts = await visit("/alerts");
  await live(alerts);
  await ask(`/stop?host=${victim.name}&unit=${unit}`, "POST");
  const row = alerts.locator("#alert-list tbody tr", { hasText: victim.name });
  const remedy = row.locator('a[href^="/jobs/"]', { hasText: /failed/i });
  await remedy.waitFor({ timeout: 60_000 });
  await inspect(alerts, "alerts-failed");
  await row.locator("a").first().click();
  await alerts.waitForURL(/\/alerts\/\w+/);
  await live(alerts);
  await inspect(alerts, "alert");
  await alerts.locator("#in-note").fill("I look after it");
  await alerts.getByRole("button", { name: "Acknowledge" }).click();
  await alerts.getByText("I look after it").first().waitFor();
  const incident = await alerts.locator('a[href^="/incidents/"]').first().getAttribute("href");
  await look(incident, "incident-failed");
  await look(await remedyOf(incident), "job-failed");
  await look("/", "overview-failed");
  const wall = await visit("/racks", WALL);
  await live(wall);
  await inspect(wall, "racks-critical");
  await wall.close();
  const map = await visit("/topology", WALL);
  await live(map);
  await inspect(map, "topology-critical");
  await map.close();
  await clean(alerts, "alert");
  await alerts.close();

  async function remedyOf(path) {
    const page = await visit(path);
    const to = await page.locator('.loop a[href^="/jobs/"]').getAttribute("href");
    await page.close();
    return to;
  }
});

test("a person starts a runbook", async () => {
  const host = any(truth.hosts);
  const page = await visit(`/jobs/new?runbook=restart-service&host=${host.name}`);
  await live(page);
  await inspect(page, "job-form");
  await page.locator('input[name="p.service"]').fill("; reboot");
  await page.locator('input[name="p.service"]').evaluate((el) => el.removeAttribute("pattern"));
  page.allow(/status of 400/);
  await page.getByRole("button", { name: "Start the job" }).click();
  await page.locator(".fault, .notice.bad, .fault-text, [role=alert]:not(.stale-banner)").first().waitFor();
  await page.locator('input[name="p.service"]').fill(host.services[0]);
  await page.getByRole("button", { name: "Start the job" }).click();
  await page.waitForURL(/\/jobs\/run-/);
  await page.waitForFunction(() => document.querySelectorAll("#log-lines li").length >= 2);
  await page.waitForFunction(() => /succeeded/i.test(document.getElementById("job-state").innerText), null, { timeout: 30_000 });
  await inspect(page, "job-by-hand");
  await page.close();
});

test("an inspection is run and its verdicts are read", async () => {
  const page = await visit("/reports");
  await live(page);
  await page.getByRole("button", { name: /Run now/ }).first().click();
  await page.waitForURL(/\/reports\/./);
  assert.ok(await page.locator(".verdicts li").count() >= 4);
  const text = await page.locator("article").innerText();
  assert.match(text, /Every target answers/);
  assert.match(text, /pass/i);
  await inspect(page, "report");
  await page.close();
  await look("/reports", "reports");
});

test("lists: devices, inventory, an item", async () => {
  await look("/devices", "devices", (page) => page.waitForFunction(() => document.querySelectorAll("#device-list tbody tr").length >= 50));
  const page = await visit("/devices");
  await live(page);
  const q = any(truth.hosts).name;
  await page.locator("#device-list-q").fill(q);
  await page.waitForFunction((n) => {
    const rows = [...document.querySelectorAll("#device-list tbody tr")];
    return rows.length >= 1 && rows.every((r) => r.textContent.includes(n));
  }, q);
  await page.waitForURL(new RegExp("q=" + q));
  await clean(page, "devices filtered");
  await page.close();
  await look("/inventory", "inventory");
  await look(`/inventory/host/${truth.hosts[0].name}`, "inventory-item");
});

test("an import with faults names file, line and path", async () => {
  const page = await visit("/inventory/import");
  await live(page);
  page.allow(/status of 400/);
  await page.locator("#in-file").setInputFiles({ name: "hall2.yaml", mimeType: "application/yaml", buffer: Buffer.from("sites:\n- id: north\n  nmae: North\nracks:\n- id: r1\n  units: many\n") });
  await page.getByRole("button", { name: "Import" }).click();
  const faults = page.locator("section", { hasText: "Faults" }).locator("tbody tr");
  await faults.first().waitFor();
  const text = (await faults.allInnerTexts()).join("\n");
  assert.match(text, /hall2\.yaml:3/);
  assert.match(text, /sites\[0\]/);
  await inspect(page, "inventory-import");
  await page.close();
});

test("the administration", async () => {
  const page = await visit("/admin/people");
  await live(page);
  await page.locator("#in-name").fill("vera");
  await page.locator("#in-password").fill(PASSWORD);
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.locator("tbody tr", { hasText: "vera" }).waitFor();
  await inspect(page, "admin-people");
  await page.goto(base + "/admin/tokens");
  await page.locator("#in-name").fill("dashboard");
  await page.getByRole("button", { name: "Make token" }).click();
  await page.locator("#new-token").waitFor();
  const token = await page.locator("#new-token").innerText();
  const answer = await fetch(base + "/api/v1/query?query=up", { headers: { Authorization: "Bearer " + token.trim() } });
  assert.equal((await answer.json()).status, "success");
  await inspect(page, "admin-tokens");
  await page.goto(base + "/admin/credentials");
  await inspect(page, "admin-credentials");
  await page.goto(base + "/admin/audit");
  await page.getByRole("button", { name: "Check the chain" }).click();
  await page.getByText(/records, unbroken/).waitFor();
  await inspect(page, "admin-audit");
  await page.close();
  for (const name of ["targets", "rules", "about"]) await look("/admin/" + name, "admin-" + name);
});

test("a viewer sees everything and changes nothing", async () => {
  const viewer = await browser.newContext();
  const page = await visit("/login", { context: viewer });
  await signIn(page, "vera", PASSWORD);
  await page.waitForURL(base + "/");
  const host = truth.hosts[0].name;
  for (const path of ["/", "/alerts", "/jobs", "/reports", "/inventory", `/device/host/${host}`, "/admin/targets", "/admin/rules", "/admin/about"]) {
    await page.goto(base + path);
    const forms = await page.evaluate(() => [...document.querySelectorAll("form")].filter((f) => f.method === "post").map((f) => new URL(f.action).pathname));
    assert.deepEqual([...new Set(forms)].sort(), ["/logout", "/theme"], path);
    if (path === `/device/host/${host}`) await inspect(page, "viewer-host");
  }
  page.allow(/status of 403/);
  await page.goto(base + "/admin/people");
  await inspect(page, "viewer-refused");
  await viewer.close();
});

test("the light theme", async () => {
  const page = await visit("/");
  await page.locator(".user summary").click();
  await page.getByRole("button", { name: "Light theme" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.theme === "light");
  await live(page);
  await inspect(page, "light-overview");
  await page.goto(base + `/device/host/${truth.hosts[0].name}`);
  await page.waitForFunction(() => document.querySelectorAll("[data-chart] canvas").length > 3);
  await inspect(page, "light-host");
  await page.goto(base + "/racks");
  await live(page);
  await inspect(page, "light-racks");
  await page.goto(base + "/");
  await page.locator(".user summary").click();
  await page.getByRole("button", { name: "Dark theme" }).click();
  await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
  await page.close();
});

test("a server that is gone is said to be gone, and comes back", async () => {
  const page = await visit("/racks", WALL);
  await live(page);
  page.allow(/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_SOCKET/);
  await ask("/down", "POST");
  const gone = Date.now();
  await page.waitForFunction(() => !document.getElementById("stale").hidden, null, { timeout: 15_000 });
  const said = (Date.now() - gone) / 1000;
  await inspect(page, "racks-stale");
  await ask("/up", "POST");
  const back = Date.now();
  await page.waitForFunction(() => document.getElementById("stale").hidden, null, { timeout: 15_000 });
  const recovered = (Date.now() - back) / 1000;
  console.log(`stale banner after ${said.toFixed(1)} s, recovery ${recovered.toFixed(1)} s after the restart`);
  assert.ok(said <= 11, `the banner came after ${said} s`);
  assert.ok(recovered <= 5, `recovery took ${recovered} s`);
  await live(page);
  await clean(page, "after the restart");
  await page.close();
});
