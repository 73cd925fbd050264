// Numbers as people read them.

const steps = (v, base, names) => {
  let i = 0;
  while (Math.abs(v) >= base && i < names.length - 1) {
    v /= base;
    i++;
  }
  return [v, names[i]];
};

const digits = (v) => {
  const a = Math.abs(v);
  return a >= 100 || Number.isInteger(v) ? v.toFixed(0) : a >= 10 ? v.toFixed(1) : v.toFixed(2);
};

// say writes v with its unit: 1.24 Gbit/s, 3.1 GiB, 41 %.
export function say(v, unit) {
  if (v === null || v === undefined || Number.isNaN(v)) return "–";
  if (unit === "percent" || unit === "%") return digits(v) + " %";
  if (unit === "bytes" || unit === "B") {
    const [n, u] = steps(v, 1024, ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]);
    return `${digits(n)} ${u}`;
  }
  if (unit === "seconds" || unit === "s") {
    if (v !== 0 && Math.abs(v) < 1) return digits(v * 1000) + " ms";
    return digits(v) + " s";
  }
  const [n, u] = steps(v, 1000, ["", "k", "M", "G", "T"]);
  return unit ? `${digits(n)} ${u}${unit}` : digits(n) + u;
}
