// Copies what the pages borrow from node_modules into views/static/vendor,
// each file under its name and version with its licence beside it, and writes
// vendor.json. Run by `make assets` after `npm ci`; the result is committed.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const modules = join(here, "node_modules");
const out = join(here, "../../views/static/vendor");

const icons = [
  "activity", "bell", "boxes", "check", "chevron-down", "chevron-left", "chevron-right", "chevron-up",
  "circle-help", "clock", "database", "download", "external-link", "file-text", "history", "info", "key-round",
  "layout-dashboard", "list-checks", "log-out", "maximize", "moon", "network", "pause", "play", "plus", "printer",
  "radar", "rotate-cw", "rows-3", "scroll-text", "search", "server", "settings", "shield", "sun", "terminal",
  "trash-2", "upload", "user", "warehouse", "wrench", "x", "zoom-in", "zoom-out",
];

const fonts = (pkg, short, subsets) =>
  subsets.map((s) => ({ from: `${pkg}/files/${short}-${s}-wght-normal.woff2`, to: (v) => `${short}-${s}-${v}.woff2` }));

const packages = [
  { name: "htmx.org", short: "htmx", source: "https://htmx.org", licence: "0BSD",
    files: [{ from: "htmx.org/dist/htmx.min.js", to: (v) => `htmx-${v}.js` }] },
  { name: "uplot", short: "uplot", source: "https://github.com/leeoniya/uPlot", licence: "MIT",
    files: [
      { from: "uplot/dist/uPlot.iife.min.js", to: (v) => `uplot-${v}.js` },
      { from: "uplot/dist/uPlot.min.css", to: (v) => `uplot-${v}.css` },
    ] },
  { name: "@fontsource-variable/inter", short: "inter", source: "https://rsms.me/inter/", licence: "OFL-1.1",
    files: fonts("@fontsource-variable/inter", "inter", ["latin", "latin-ext", "cyrillic", "greek"]) },
  { name: "@fontsource-variable/jetbrains-mono", short: "jetbrains-mono", source: "https://www.jetbrains.com/lp/mono/", licence: "OFL-1.1",
    files: fonts("@fontsource-variable/jetbrains-mono", "jetbrains-mono", ["latin", "latin-ext"]) },
  { name: "lucide-static", short: "lucide", source: "https://lucide.dev", licence: "ISC",
    files: [{ sprite: icons, to: (v) => `lucide-${v}.svg` }] },
];

// sprite makes one file of symbols, so that a page asks once for all icons.
function sprite(names) {
  const symbols = names.map((n) => {
    const svg = readFileSync(join(modules, "lucide-static/icons", `${n}.svg`), "utf8");
    const inner = svg.slice(svg.indexOf(">", svg.indexOf("<svg")) + 1, svg.lastIndexOf("</svg>")).replace(/\s*\n\s*/g, "");
    return `<symbol id="${n}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">${inner}</symbol>`;
  });
  return Buffer.from(`<svg xmlns="http://www.w3.org/2000/svg">\n${symbols.join("\n")}\n</svg>\n`);
}

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const list = [];
for (const p of packages) {
  const { version } = JSON.parse(readFileSync(join(modules, p.name, "package.json"), "utf8"));
  const licenceFile = `${p.short}-${version}.LICENSE`;
  writeFileSync(join(out, licenceFile), readFileSync(join(modules, p.name, "LICENSE")));
  for (const f of p.files) {
    const data = f.sprite ? sprite(f.sprite) : readFileSync(join(modules, f.from));
    const file = f.to(version);
    writeFileSync(join(out, file), data);
    list.push({
      file, name: p.name, version, licence: p.licence, licenceFile,
      sha256: createHash("sha256").update(data).digest("hex"), source: p.source,
    });
  }
}
writeFileSync(join(out, "vendor.json"), JSON.stringify(list, null, 2) + "\n");
console.log(`${list.length} files of ${packages.length} packages`);
