// Every page with fixed models, at two sizes: console, policy, axe, pictures.
// Started by the Go test TestPagesInBrowser, which serves the pages.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { axe, launch, open, settled, shot, tabStops, violations } from "./lib.mjs";

const base = process.env.NOCTURNE_URL;
const only = process.env.NOCTURNE_PAGES?.split(",");
const list = (await (await fetch(base + "/index.json")).json()).filter((p) => !only || only.includes(p.Name));
let browser;

// Hooks run only where there is a test to run them.
if (list.length) {
  before(async () => (browser = await launch()));
  after(() => browser?.close());
}

for (const { Name: name, Path: path } of list) {
  test(name, async () => {
    for (const [width, height] of [[1366, 768], [1920, 1080]]) {
      const page = await open(browser, { width, height });
      await page.goto(base + path, { waitUntil: "load" });
      await settled(page);
      if (await page.locator("[data-chart]").count()) {
        await page.waitForFunction(() => [...document.querySelectorAll("[data-chart]")].every((c) => c.querySelector("canvas") || !c.querySelector(".chart-note").hidden));
      }
      if (await page.locator("#fresh-word").count()) await page.waitForFunction(() => document.getElementById("fresh-word").textContent === "Live");
      await shot(page, `${name}-${width}`);
      assert.deepEqual(await violations(page), []);
      if (width === 1366) {
        assert.equal((await axe(page)).join("\n"), "");
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, "wider than the window");
        const bare = (await tabStops(page, 25)).filter((s) => !s.ring && !s.svg);
        assert.deepEqual(bare, [], "focus without a ring");
      }
      assert.deepEqual(page.faults, []);
      await page.context().close();
    }
  });
}
