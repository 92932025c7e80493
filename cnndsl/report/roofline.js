// A roofline: what a GPU can reach at most, by how many operations are done for each byte moved. Nothing here is
// measured, so every launch stands on the roof itself; the area of its dot is its share of the least possible time.

function roofline(target, { selected, pick }) {
  const { peak } = target;
  const points = target.launches
    .map((launch, position) => ({ launch, position }))
    .filter(({ launch }) => launch.flops && launch.seconds);
  if (!peak || !points.length) return null;
  const roofs = [...new Map(points.map(({ launch }) => [launch.peak, launch.unit]))];
  const best = Math.max(...roofs.map(([each]) => each));
  const intensities = points.map(({ launch }) => launch.flops / launch.bytes);
  const low = Math.min(1, ...intensities) / 2;
  const high = Math.max(...intensities, best / peak.bandwidth) * 4;
  const top = best * 2.5;
  const bottom = Math.min(...points.map(({ launch }) => roof(launch)), best / 50) / 3;
  const [width, height] = [640, 300];
  const [left, right, above, below] = [78, 14, 12, 42];
  const x = (value) => left + ((Math.log10(value) - Math.log10(low)) / (Math.log10(high) - Math.log10(low))) * (width - left - right);
  const y = (value) => above + ((Math.log10(top) - Math.log10(value)) / (Math.log10(top) - Math.log10(bottom))) * (height - above - below);
  function roof(launch) {
    return Math.min(launch.peak, (launch.flops / launch.bytes) * peak.bandwidth);
  }
  const total = points.reduce((sum, { launch }) => sum + launch.seconds, 0);
  const decades = (from, to) => {
    const found = [];
    for (let power = Math.ceil(Math.log10(from)); 10 ** power <= to; power += 1) found.push(10 ** power);
    return found;
  };
  const lines = [];
  for (const value of decades(low, high)) {
    lines.push(s("line", { class: "grid", x1: x(value), x2: x(value), y1: above, y2: height - below }));
    lines.push(s("text", { class: "tick", x: x(value), y: height - below + 15, "text-anchor": "middle" }, plain(value)));
  }
  for (const value of decades(bottom, top)) {
    lines.push(s("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    lines.push(s("text", { class: "tick", x: left - 6, y: y(value) + 4, "text-anchor": "end" }, rate(value).replace(".00", "")));
  }
  for (const [each, unit] of roofs) {
    const ridge = each / peak.bandwidth;
    lines.push(s("path", {
      class: "roof",
      d: `M ${x(low)} ${y(low * peak.bandwidth)} L ${x(ridge)} ${y(each)} L ${x(high)} ${y(each)}`,
      // Below the chart's floor the slope is cut off by the clip of the plot.
      "clip-path": "url(#plot)",
    }));
    lines.push(s("text", { class: "roof-name", x: width - right - 4, y: y(each) - 5, "text-anchor": "end" },
      `${rate(each)}, ${unit}`));
  }
  // Along the slope, where it begins.
  const start = Math.max(low, bottom / peak.bandwidth) * 1.15;
  const tilt = (Math.atan2(y(2 * start * peak.bandwidth) - y(start * peak.bandwidth), x(2 * start) - x(start)) * 180) / Math.PI;
  lines.push(s("text", {
    class: "roof-name", transform: `translate(${x(start)} ${y(start * peak.bandwidth) - 7}) rotate(${tilt})`,
  }, `${bandwidth(peak.bandwidth)} of memory`));
  const dots = points.map(({ launch, position }) => s("circle", {
    class: `dot ${launch.bound}${position === selected ? " selected" : ""}`,
    cx: x(launch.flops / launch.bytes), cy: y(roof(launch)), r: 3.5 + 14 * Math.sqrt(launch.seconds / total),
    style: { "--colour": colourOf(launch.family) }, onclick: () => pick(position),
  }, s("title", {}, `${launch.title}: ${plain(launch.flops / launch.bytes)} FLOP/B, at least ${time(launch.seconds)}`)));
  const chosen = points.find(({ position }) => position === selected);
  const name = chosen && s("text", {
    class: "dot-name", x: Math.min(width - 120, x(chosen.launch.flops / chosen.launch.bytes)), y: y(roof(chosen.launch)) + 26,
    "text-anchor": "middle",
  }, chosen.launch.title);
  // The small ones are drawn over the large.
  dots.sort((a, b) => Number(b.getAttribute("r")) - Number(a.getAttribute("r")));
  return s(
    "svg", { class: "roofline", viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `Roofline of ${peak.board}; the same numbers stand in the table of kernels` },
    s("clipPath", { id: "plot" }, s("rect", { x: left, y: above, width: width - left - right, height: height - above - below })),
    lines, dots, name,
    s("text", { class: "axis", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" },
      "arithmetic intensity in FLOP per byte"),
  );
}

const plain = (value) => (value >= 100 ? number(Math.round(value)) : String(Number(value.toPrecision(3))));

const FAMILIES = {
  conv: "convolution", dense: "dense", pool: "pooling", norm: "normalisation", act: "activation", join: "join",
  other: "data movement and others",
};
const colourOf = (family) => `var(--family-${family})`;
