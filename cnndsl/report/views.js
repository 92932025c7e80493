// What is said of the network and of one launch in words and numbers.

const BOUND = { memory: "memory", arithmetic: "arithmetic" };

/** Columns of the table of launches. `of` gives what is sorted by, `cell` what is shown where that differs. */
const COLUMNS = [
  { title: "#", tip: "place in the order of launches", of: (row) => row.position + 1, numeric: true },
  { title: "Layers", tip: "the layers that the kernel computes", of: (row) => row.launch.title, head: true },
  { title: "Kernel", tip: "its file in the package; equal kernels are one file", of: (row) => row.kernel.name },
  { title: "Output", tip: "height x width x channels of one picture", of: (row) => row.launch.writes.bytes, cell: (row) => row.launch.writes.shape, numeric: true },
  { title: "FLOPs", tip: "two for each multiply-accumulate of convolution and dense layers", of: (row) => row.launch.flops, cell: (row) => (row.launch.flops ? flops(row.launch.flops) : "–"), numeric: true },
  { title: "Bytes", tip: "every operand read once, the result written once", of: (row) => row.launch.bytes, cell: (row) => bytes(row.launch.bytes), numeric: true },
  { title: "FLOP/B", tip: "arithmetic intensity: FLOPs for each byte", of: (row) => row.launch.flops / row.launch.bytes, cell: (row) => (row.launch.flops ? plain(row.launch.flops / row.launch.bytes) : "–"), numeric: true },
  { title: "Bound by", tip: "what takes longer at the data sheet's peaks", of: (row) => row.launch.bound, cell: (row) => boundBadge(row.launch.bound), when: (target) => target.peak },
  { title: "At least", tip: "time at the data sheet's peaks: an estimate, no measurement", of: (row) => row.launch.seconds, cell: (row) => time(row.launch.seconds), numeric: true, when: (target) => target.peak },
  { title: "Share", tip: "of the sum of these times", of: (row) => row.launch.seconds, cell: (row) => shareBar(row.share), when: (target) => target.peak },
  { title: "Registers", tip: "of each thread", of: (row) => row.kernel.resources?.registers, numeric: true, when: isCompiled },
  { title: "Spills", tip: "bytes of registers kept in local memory, for each thread", of: (row) => row.kernel.resources?.spills, cell: (row) => warned(row.kernel.resources?.spills), numeric: true, when: isCompiled },
  { title: "Shared", tip: "shared memory of each program", of: (row) => row.kernel.resources?.shared, cell: (row) => bytes(row.kernel.resources.shared), numeric: true, when: isCompiled },
  { title: "Warps", tip: "of each program", of: (row) => row.kernel.warps, numeric: true },
  { title: "Stages", tip: "tiles in flight in the pipelined loop", of: (row) => row.kernel.stages, numeric: true },
  { title: "Occupancy", tip: "share of the warps that a multiprocessor can hold", of: (row) => row.kernel.resources?.occupancy, cell: (row) => `${Math.round(row.kernel.resources.occupancy)} %`, numeric: true, when: isCompiled },
  { title: "Matrix", tip: "matrix instructions", of: (row) => row.kernel.resources?.matrix, numeric: true, when: isCompiled },
  { title: "Copies", tip: "asynchronous and bulk copies to shared memory", of: (row) => row.kernel.resources?.copies, numeric: true, when: isCompiled },
];

function isCompiled(target) {
  return target.kernels.some((kernel) => kernel.resources);
}

const boundBadge = (bound) => (bound ? h("span", { class: `badge ${bound}` }, BOUND[bound]) : "–");
const warned = (value) => (value ? h("span", { class: "badge bad" }, number(value)) : String(value));
const shareBar = (share) => h(
  "span", { class: "share" }, h("span", { class: "share-bar", style: { "--share": share } }), h("span", {}, percent(share)),
);

function rowsOf(target) {
  const total = target.launches.reduce((sum, launch) => sum + (launch.seconds ?? 0), 0);
  return target.launches.map((launch, position) => ({
    launch, position, kernel: target.kernels[launch.kernel], share: total ? (launch.seconds ?? 0) / total : 0,
  }));
}

/** The table of launches, sorted by a column when its head is pressed. */
class LaunchTable {
  constructor({ pick }) {
    this.pick = pick;
    this.column = 0;
    this.descending = false;
    this.body = h("tbody");
    this.head = h("tr");
    this.element = h("div", { class: "table-wrap", tabindex: 0, role: "region", "aria-label": "Kernel launches" },
      h("table", { class: "launches" }, h("thead", {}, this.head), this.body));
  }

  show(target, selected) {
    this.target = target;
    this.selected = selected;
    this.columns = COLUMNS.filter((column) => !column.when || column.when(target));
    this.column = Math.min(this.column, this.columns.length - 1);
    this.render();
  }

  sort(column) {
    this.descending = column === this.column ? !this.descending : Boolean(this.columns[column].numeric) && column > 0;
    this.column = column;
    this.render();
    $$("button", this.head)[column].focus();
  }

  render() {
    const { of } = this.columns[this.column];
    const sign = this.descending ? -1 : 1;
    const rows = rowsOf(this.target).sort((a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === y) return a.position - b.position;
      if (x === undefined || x === null) return 1;
      if (y === undefined || y === null) return -1;
      return sign * (x < y ? -1 : 1);
    });
    this.head.replaceChildren(...this.columns.map((column, position) => h(
      "th", {
        scope: "col", class: column.numeric ? "numeric" : null,
        "aria-sort": position === this.column ? (this.descending ? "descending" : "ascending") : null,
      },
      h("button", { type: "button", title: column.tip, onclick: () => this.sort(position) },
        column.title, h("span", { class: "arrow", "aria-hidden": "true" })),
    )));
    this.body.replaceChildren(...rows.map((row) => this.row(row)));
  }

  row(row) {
    const { launch, kernel, position } = row;
    const missing = kernel.resources ? null : kernel.error ? "failed" : "–";
    return h(
      "tr", {
        class: [position === this.selected ? "selected" : "", kernel.error ? "failed" : ""].join(" ").trim() || null,
        "data-launch": position, onclick: () => this.pick(position),
      },
      this.columns.map((column) => {
        const value = column.of(row);
        const shown = value === undefined || value === null || Number.isNaN(value)
          ? (missing ?? "–") : column.cell ? column.cell(row) : typeof value === "number" ? number(value) : value;
        return column.head
          ? h("th", { scope: "row", style: { "--colour": colourOf(launch.family) } },
            h("button", { type: "button", class: "plain", onclick: (event) => { event.stopPropagation(); this.pick(position); } },
              shown, launch.part ? h("span", { class: "dim" }, ` ${launch.part}`) : null))
          : h("td", { class: column.numeric ? "numeric" : null }, shown);
      }),
    );
  }

  select(position, show) {
    this.selected = position;
    for (const row of this.body.rows) row.classList.toggle("selected", Number(row.dataset.launch) === position);
    if (show) $("tr.selected", this.body)?.scrollIntoView({ block: "nearest" });
  }
}

/** The whole network on one page: totals, the roofline, the table. */
function overview(report, target, { table }) {
  const { totals } = target;
  const failed = target.kernels.filter((kernel) => kernel.error).length;
  const compiled = target.kernels.filter((kernel) => kernel.resources);
  const spilling = compiled.filter((kernel) => kernel.resources.spills > 0).length;
  const fact = (title, value, about, level = null) => h(
    "div", { class: level ? `fact ${level}` : "fact" }, h("dt", {}, title), h("dd", {}, value), h("dd", { class: "about" }, about),
  );
  const facts = h(
    "dl", { class: "facts" },
    fact("Kernels", number(target.kernels.length), `${count(target.launches.length, "launch", "launches")} for ${count(report.layers.length, "layer")}`),
    fact("Arithmetic", flops(totals.flops), `${count(report.batch, "picture")}, convolutions and dense layers`),
    fact("Weights", bytes(totals.weights), `${report.dtype}, as the kernels read them`),
    fact("Activations", bytes(totals.activations), "read and written by the launches"),
    target.peak && totals.seconds !== null
      ? fact("At least", time(totals.seconds), `at the peaks of ${target.peak.board}; not measured`) : null,
    totals.fused ? fact("Fusion saves", bytes(totals.fused), "of memory traffic between layers") : null,
    compiled.length ? fact("Spills", spilling ? count(spilling, "kernel") : "none",
      spilling ? "keep registers in local memory" : `in ${count(compiled.length, "compiled kernel")}`, spilling ? "bad" : "good") : null,
    failed ? fact("Failed", count(failed, "kernel"), "did not compile; see their code", "bad") : null,
  );
  const drawn = target.peak && target.launches.some((launch) => launch.flops && launch.seconds);
  return [
    facts,
    target.note ? h("p", { class: "note" }, target.note) : null,
    drawn ? h("figure", { class: "roofline-figure" }, h("div", { class: "chart" }), h("figcaption", {}, roofNote(target),
      h("span", { class: "legend" }, [...new Set(target.launches.map((launch) => launch.family))].map((family) => h(
        "span", {}, h("i", { style: { "--colour": colourOf(family) } }), FAMILIES[family] ?? family))))) : null,
    table.element,
  ];
}

function roofNote(target) {
  const idle = target.launches.filter((launch) => !launch.flops).length;
  return h(
    "p", {},
    `An estimate from the data sheet of ${target.peak.board} (${target.peak.source}), not a measurement: each kernel could reach at most what
     the roof allows. The area of a dot is the launch's share of the least possible time.`,
    idle ? ` ${count(idle, "launch", "launches")} without multiply-accumulates ${idle === 1 ? "is" : "are"} bound by memory and not in the chart.` : "",
  );
}

/** The heading above a kernel's tabs. */
function headline(report, target, position, { go, layers }) {
  const launch = target.launches[position];
  const kernel = target.kernels[launch.kernel];
  const shared = target.launches.filter((each) => each.kernel === launch.kernel).length - 1;
  const { resources } = kernel;
  const badge = (text, level = "", tip = null) => h("span", { class: `badge ${level}`, title: tip }, text);
  return [
    h("div", { class: "walk" },
      h("button", { type: "button", "aria-label": "Previous launch (k)", disabled: position === 0, onclick: () => go(position - 1) }, "‹"),
      h("span", { class: "dim" }, `${position + 1} of ${target.launches.length}`),
      h("button", { type: "button", "aria-label": "Next launch (j)", disabled: position === target.launches.length - 1, onclick: () => go(position + 1) }, "›")),
    h("div", { class: "what" },
      h("h2", { style: { "--colour": colourOf(launch.family) } }, launch.title, launch.part ? ` (${launch.part})` : ""),
      h("p", {}, h("code", {}, launch.op), " ",
        h("span", { class: "dim" }, `${launch.reads.filter((read) => read.kind === "input").map((read) => read.shape).join(", ")} → ${launch.writes.shape}`)),
      h("p", { class: "dim" }, h("code", {}, kernel.file), ` · ${kernel.grid} programs of ${count(kernel.warps, "warp")} · `,
        shared ? `also launched for ${otherTitles(target, launch, position)}` : "launched once",
        " · ", places(report, launch, layers))),
    h("div", { class: "badges" },
      launch.flops ? badge(flops(launch.flops)) : null,
      badge(bytes(launch.bytes), "", "memory traffic: every operand once"),
      launch.bound ? badge(`bound by ${launch.bound}`, launch.bound, "at the data sheet's peaks") : null,
      resources ? badge(count(resources.registers, "register")) : null,
      resources ? badge(resources.spills ? `${number(resources.spills)} B spilled` : "no spills", resources.spills ? "bad" : "good") : null,
      resources ? badge(`${bytes(resources.shared)} shared`) : null,
      kernel.error ? badge("failed to compile", "bad") : null),
  ];
}

function otherTitles(target, launch, position) {
  const others = target.launches.filter((each, i) => each.kernel === launch.kernel && i !== position).map((each) => each.title);
  return others.length > 3 ? `${others.slice(0, 3).join(", ")} and ${others.length - 3} more` : others.join(", ");
}

function places(report, launch, { open }) {
  return launch.places.slice(0, 4).map(([file, line], i) => [
    i ? ", " : "",
    h("button", { type: "button", class: "link", onclick: () => open(file, line) }, `${baseName(report.files[file].name)}:${line}`),
  ]);
}

/** Resources of a kernel, each with what it means and where its limit is. */
function resourcesView(target, position) {
  const kernel = target.kernels[target.launches[position].kernel];
  const rows = kernel.facts.map(([title, value, about, level]) => h(
    "tr", { class: level || null }, h("th", { scope: "row" }, title), h("td", { class: "numeric" }, value), h("td", { class: "about" }, about),
  ));
  const listed = (title, pairs) => h(
    "section", {}, h("h3", {}, title),
    h("table", { class: "pairs" }, h("tbody", {}, pairs.map(([name, ...values]) => h(
      "tr", {}, h("th", { scope: "row" }, h("code", {}, name)), values.map((value) => h("td", {}, value)))))),
  );
  return [
    kernel.error ? h("pre", { class: "error" }, kernel.error) : null,
    !kernel.resources && !kernel.error ? h("p", { class: "note" }, target.note) : null,
    h("section", {}, h("h3", {}, "Resources"), h("table", { class: "facts-table" }, h("tbody", {}, rows))),
    h("div", { class: "columns" },
      listed("Parameters", kernel.parameters),
      kernel.constants.length ? listed("Folded constants", kernel.constants) : null),
  ];
}

/** What a launch costs, and what bounds it. */
function costView(report, target, position, { pick }) {
  const launch = target.launches[position];
  const { peak } = target;
  const moved = [...launch.reads.map((each) => ({ ...each, way: "read" })), { ...launch.writes, way: "written" }];
  const most = Math.max(...moved.map((each) => each.bytes));
  const intensity = launch.flops / launch.bytes;
  const chart = roofline(target, { selected: position, pick });
  return [
    h("section", {}, h("h3", {}, "Memory"),
      h("table", { class: "moved" },
        h("thead", {}, h("tr", {}, ["Tensor", "Shape", "", "Bytes"].map((title, i) => h("th", { scope: "col", class: i === 3 ? "numeric" : null }, title)))),
        h("tbody", {}, moved.map((each) => h(
          "tr", {}, h("th", { scope: "row" }, h("code", {}, each.name), h("span", { class: "dim" }, ` ${each.kind ?? ""} ${each.way}`)),
          h("td", {}, each.shape),
          h("td", { class: "bar-cell" }, h("span", { class: `bytes-bar ${each.way} ${each.kind ?? ""}`, style: { "--share": each.bytes / most } })),
          h("td", { class: "numeric" }, bytes(each.bytes))))),
        h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "together"), h("td"), h("td"), h("td", { class: "numeric" }, bytes(launch.bytes))))),
      h("p", { class: "about" }, `For a batch of ${report.batch} in ${report.dtype}. Every operand counts once: caches are taken to be perfect.`)),
    h("section", {}, h("h3", {}, "Arithmetic"),
      launch.flops
        ? h("p", {}, `${number(launch.macs)} multiply-accumulates = ${flops(launch.flops)}: `, h("b", {}, `${plain(intensity)} FLOP for each byte`), ".")
        : h("p", {}, "No multiply-accumulates of convolution or dense layers; other arithmetic is not counted.")),
    h("section", {}, h("h3", {}, "Bound"), peak
      ? launch.seconds !== null ? boundText(launch, peak, intensity) : h("p", { class: "note" }, `There is no data sheet figure for ${report.dtype} on ${peak.board}.`)
      : h("p", { class: "note" }, "The interpreter runs on the CPU, for which no peaks are assumed."),
    chart && launch.flops ? h("figure", { class: "roofline-figure" }, chart, h("figcaption", {}, roofNote(target))) : null),
  ];
}

function boundText(launch, peak, intensity) {
  const memory = launch.bytes / peak.bandwidth;
  const arithmetic = launch.flops / launch.peak;
  const bar = (title, seconds) => h(
    "tr", {}, h("th", { scope: "row" }, title),
    h("td", { class: "bar-cell" }, h("span", { class: "bytes-bar read", style: { "--share": seconds / Math.max(memory, arithmetic) } })),
    h("td", { class: "numeric" }, time(seconds)),
  );
  return h("div", {},
    h("table", { class: "moved" }, h("tbody", {}, bar("moving the bytes", memory), bar("the arithmetic", arithmetic))),
    h("p", {}, "Bound by ", boundBadge(launch.bound),
      launch.flops ? `: ${plain(intensity)} FLOP/B, where ${plain(launch.peak / peak.bandwidth)} would balance ${rate(launch.peak)} (${launch.unit}) and ${bandwidth(peak.bandwidth)}.` : ": there is next to no arithmetic."),
    h("p", { class: "about" }, `Peaks of ${peak.board} from ${peak.source}. This bounds what any kernel could reach; it says nothing about how fast this one is, which only a GPU can tell.`));
}

const FATES = {
  kernel: "computed here", folded: "folded", "in place": "in place", free: "free", unused: "unused", input: "input",
};

/** What is in a launch, and why it ends where it does. */
function fusionView(report, target, position, { open, pickLayer }) {
  const launch = target.launches[position];
  const place = (layer) => h(
    "button", { type: "button", class: "link", onclick: () => open(layer.file, layer.line) },
    `${baseName(report.files[layer.file].name)}:${layer.line}`,
  );
  const layers = launch.layers.map((i) => report.layers[i]);
  const named = (name) => (report.layers.some((layer) => layer.name === name)
    ? h("button", { type: "button", class: "link", onclick: () => pickLayer(name) }, name) : h("code", {}, name));
  return [
    h("section", {}, h("h3", {}, "In this kernel"),
      h("table", { class: "pairs" }, h("tbody", {}, layers.map((layer) => h(
        "tr", {}, h("th", { scope: "row" }, h("code", {}, layer.name)), h("td", {}, h("code", {}, layer.op)), h("td", {}, layer.shape),
        h("td", {}, place(layer)),
        h("td", {}, target.fates[layer.name]?.[1] || FATES[target.fates[layer.name]?.[0]] || "")))))),
    h("section", {}, h("h3", {}, "Not fused"),
      launch.boundaries.length
        ? h("table", { class: "boundaries" },
          h("thead", {}, h("tr", {}, ["From", "To", "Why", "Traffic"].map((title, i) => h("th", { scope: "col", class: i === 3 ? "numeric" : null }, title)))),
          h("tbody", {}, launch.boundaries.map((each) => h(
            "tr", {}, h("td", {}, named(each.source)), h("td", {}, named(each.to)), h("td", {}, each.why),
            h("td", { class: "numeric" }, bytes(each.bytes))))))
        : h("p", {}, "Both ends of this kernel are the network's own inputs and outputs."),
      launch.boundaries.length
        ? h("p", { class: "about" }, "Traffic is what passing the value through memory costs: written once, read once by each reader.") : null),
    target.free.length ? h("section", {}, h("h3", {}, "Layers of this network that need no kernel"),
      h("table", { class: "pairs" }, h("tbody", {}, target.free.map(([name, why]) => h(
        "tr", {}, h("th", { scope: "row" }, named(name)), h("td", {}, why)))))) : null,
  ];
}
