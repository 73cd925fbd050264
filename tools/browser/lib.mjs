// Drives Debian's Chromium: what a page says in its console, what its policy
// refused, what axe finds, and pictures of it. Used with `node --test`.
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const axeSource = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const here = dirname(fileURLToPath(import.meta.url));

export const artifacts = process.env.NOCTURNE_ARTIFACTS ?? join(here, "../../artifacts");

const FLAGS = [
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

// launch starts the browser; close it with browser.close().
export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });
}

// open gives a page that remembers everything that went wrong on it. Take
// page.faults, an array of texts; page.allow(re) forgives what a test expects.
// A page in a context of its own, unless one is given: whoever is signed in.
export async function open(browser, { width = 1366, height = 768, context, ...options } = {}) {
  context ??= await browser.newContext({ viewport: { width, height }, ...options });
  const page = await context.newPage();
  await page.setViewportSize({ width, height });
  const forgiven = [];
  page.faults = [];
  page.allow = (re) => forgiven.push(re);
  const note = (text) => forgiven.some((re) => re.test(text)) || page.faults.push(text);
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && note(`console ${m.type()}: ${m.text()} (${m.location().url})`));
  page.on("pageerror", (e) => note(`page error: ${e.stack ?? e}`));
  page.on("requestfailed", (r) => {
    const text = r.failure()?.errorText ?? "";
    // A page that is left drops its stream and whatever it was fetching.
    if (text !== "net::ERR_ABORTED") note(`request failed: ${r.url()} ${text}`);
  });
  page.on("response", (r) => r.status() >= 500 && note(`answer ${r.status()}: ${r.url()}`));
  await page.addInitScript(() => {
    globalThis.__violations = [];
    document.addEventListener("securitypolicyviolation", (e) =>
      globalThis.__violations.push(`${e.violatedDirective}: ${e.blockedURI} ${e.sourceFile ?? ""}:${e.lineNumber}`));
  });
  return page;
}

// violations lists what the content security policy refused on the page.
export const violations = (page) => page.evaluate(() => globalThis.__violations ?? []);

// axe lists accessibility faults, one text each. It is injected through the
// debugger, so a strict policy does not mind.
export async function axe(page, { disable = [] } = {}) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async (off) => {
    const rules = Object.fromEntries(off.map((id) => [id, { enabled: false }]));
    const { violations } = await globalThis.axe.run(document, { rules, resultTypes: ["violations"] });
    return violations.flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}: ${n.failureSummary}`));
  }, disable);
  return found;
}

// shot writes a picture of the page into the artifacts.
export async function shot(page, name, { fullPage = false } = {}) {
  mkdirSync(artifacts, { recursive: true });
  const path = join(artifacts, `${name}.png`);
  await page.screenshot({ path, fullPage });
  return path;
}

// settled waits until type is loaded and charts had a frame to draw.
export async function settled(page) {
  await page.evaluate(() => document.fonts.ready);
  await page.evaluate(() => new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r))));
}

// tabStops walks the page with the Tab key and lists what took the focus and
// whether a focus ring is drawn, at most max stops.
export async function tabStops(page, max = 200) {
  const stops = [];
  for (let i = 0; i < max; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const el = document.activeElement;
      if (!el || el === document.body) return null;
      const s = getComputedStyle(el);
      return { tag: el.tagName, text: (el.getAttribute("aria-label") ?? el.textContent ?? "").trim().slice(0, 60), ring: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) > 0, svg: el instanceof SVGElement };
    });
    if (!stop) break;
    stops.push(stop);
  }
  return stops;
}
