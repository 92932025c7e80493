// What is selected, and everything that follows from it. The address says it too, so that a page can be linked to:
// report.html#launch=conv2&view=code&panes=source,sass&line=38&target=sm_90

const report = JSON.parse($("#data").textContent);
const state = { target: 0, launch: 0, chosen: false, view: "overview", line: null };
const PER_KERNEL = ["code", "resources", "cost", "fusion"];

const target = () => report.targets[state.target];
const launch = () => target().launches[state.launch];
const layerNames = (position) => new Set(target().launches[position].layers.map((i) => report.layers[i].name));
const anchorOf = (position) => {
  const { layers, part } = target().launches[position];
  return report.layers[layers[0]].name + (part ? `:${part}` : "");
};

// --- texts -----------------------------------------------------------------------------------------

const unpacked = new Map();

/** The texts of a kernel by stage; they lie in the page compressed until they are wanted. */
function textsOf(kernel) {
  if (!unpacked.has(kernel.texts)) {
    unpacked.set(kernel.texts, unpack($(`#${kernel.texts}`).textContent.trim()));
  }
  return unpacked.get(kernel.texts);
}

async function unpack(text) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("This browser cannot unpack the kernels' texts: it takes Chrome 80, Firefox 113 or Safari 16.4, or later.");
  }
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).json();
}

// --- parts -----------------------------------------------------------------------------------------

const layerByName = new Map(report.layers.map((layer, i) => [layer.name, i]));
let launchesOfLayer = new Map();
let launchesOfLine = new Map();

const text = new TextPanel(report, { pick: pickLine, point: pointLine });
const picture = new Picture({ pick: pickLayer, point: pointLayer });
const desk = new Desk($("#view-code"), { changed: remember, lit: onLit });
const table = new LaunchTable({ pick: (position) => { open(position); } });

/** Which launches each layer and each line became, for the chosen target. */
function index() {
  launchesOfLayer = new Map(report.layers.map((layer) => [layer.name, []]));
  launchesOfLine = new Map();
  target().launches.forEach((each, position) => {
    for (const i of each.layers) launchesOfLayer.get(report.layers[i].name).push(position);
    for (const [file, line] of each.places) {
      const key = `${file}:${line}`;
      if (!launchesOfLine.has(key)) launchesOfLine.set(key, []);
      launchesOfLine.get(key).push(position);
    }
  });
  text.bind({
    launchesAt: (file, line) => launchesOfLine.get(`${file}:${line}`) ?? [],
    colourAt: (file, line) => {
      const found = launchesOfLine.get(`${file}:${line}`);
      return found ? colourOf(target().launches[found[0]].family) : null;
    },
  });
}

// --- choosing --------------------------------------------------------------------------------------

/** Choose a launch and show its kernel. */
function open(position, { say = null, from = null } = {}) {
  if (state.view === "overview") state.view = "code";
  select(position, { say, from });
}

function select(position, { say = null, from = null } = {}) {
  state.launch = Math.max(0, Math.min(target().launches.length - 1, position));
  state.chosen = true;
  state.line = null;
  notice(say);
  show({ from });
  if (from && from !== "key" && matchMedia("(max-width: 900px)").matches) $("#detail").scrollIntoView();
  remember();
  announce(`${launch().title}, launch ${state.launch + 1} of ${target().launches.length}`);
}

function pickLine(file, line) {
  const found = launchesOfLine.get(`${file}:${line}`) ?? [];
  const name = `${baseName(report.files[file].name)}:${line}`;
  if (!found.length) {
    const own = report.layers.filter((layer) => layer.file === file && layer.line === line);
    if (own.length) notice([own.map((layer) => `${layer.name} has no kernel: ${fateOf(layer.name)}. `)]);
    else notice([`There is no layer on ${name}.`]);
    return;
  }
  const chosen = found.includes(state.launch) ? state.launch : found[0];
  const say = found.length > 1 ? [`${name} became ${found.length} launches: `, chips(found)] : null;
  open(chosen, { say, from: "text" });
}

function pickLayer(name) {
  const found = launchesOfLayer.get(name) ?? [];
  if (!found.length) {
    notice([h("b", {}, name), ` has no kernel of its own: ${fateOf(name)}.`]);
    return;
  }
  const fate = target().fates[name];
  const say = fate && fate[1] ? [h("b", {}, name), `: ${fate[1]}. `] : null;
  open(found.includes(state.launch) ? state.launch : found[0], { say, from: "picture" });
}

const fateOf = (name) => target().fates[name]?.[1] || "nothing is computed";

const chips = (positions) => positions.map((position) => h(
  "button", {
    type: "button", class: "chip", "data-launch": position,
    onclick: (event) => { const kept = [...$("#notice").childNodes]; open(position); notice(kept); event.target.focus(); },
  }, target().launches[position].title,
));

/** A sentence above the kernel, until something else is chosen. */
function notice(parts) {
  const place = $("#notice");
  place.hidden = !parts;
  if (!parts) return;
  place.replaceChildren(...parts.flat(), h("button", { type: "button", class: "close", "aria-label": "Close", onclick: () => notice(null) }, "×"));
  markChips();
  announce(place.textContent.replace("×", ""));
}

function markChips() {
  for (const chip of $$("#notice .chip")) chip.setAttribute("aria-pressed", String(Number(chip.dataset.launch) === state.launch));
}

// --- pointing --------------------------------------------------------------------------------------

function pointLine(file, line) {
  const found = line === null ? [] : (launchesOfLine.get(`${file}:${line}`) ?? []);
  picture.light(new Set(found.flatMap((position) => [...layerNames(position)])));
}

function pointLayer(name) {
  const i = layerByName.get(name);
  if (i === undefined) { text.light([]); return; }
  const { file, line, calls } = report.layers[i];
  text.light([[file, line], ...calls]);
}

/** A line of the code is lit: so are the lines of the .cnn text that the kernel comes from. */
function onLit(source) {
  text.light(source ? launch().places : []);
  if (source !== state.line && desk.pinned === source) state.line = source;
}

// --- showing ---------------------------------------------------------------------------------------

let shown = 0;

function show({ from = null } = {}) {
  const tabs = $(".tabs");
  markTab(tabs, $(`#tab-${state.view}`));
  for (const view of $$(".view")) view.hidden = view.id !== `view-${state.view}`;
  const perKernel = PER_KERNEL.includes(state.view);
  $("#headline").hidden = !perKernel;
  document.body.dataset.view = state.view;
  const walk = (position) => select(position);
  if (perKernel) {
    $("#headline").replaceChildren(...headline(report, target(), state.launch, { go: walk, layers: { open: openLine } }).flat());
  }
  switch (state.view) {
    case "overview": showOverview(from !== null); break;
    case "code": showCode(); break;
    case "resources": $("#view-resources").replaceChildren(...resourcesView(target(), state.launch).filter(Boolean)); break;
    case "cost": $("#view-cost").replaceChildren(...costView(report, target(), state.launch, { pick: select }).filter(Boolean)); break;
    case "fusion":
      $("#view-fusion").replaceChildren(...fusionView(report, target(), state.launch, { open: openLine, pickLayer }).filter(Boolean));
      break;
  }
  const picked = perKernel || state.chosen;
  text.select(picked ? launch().places : [], picked && from !== "text");
  picture.select(picked ? layerNames(state.launch) : new Set(), picked && from !== "picture");
  markChips();
  document.title = perKernel ? `${launch().title} – ${report.title}` : report.title;
}

let overviewOf = null;

/** Made once for each target: a table of a thousand rows is not for every key. */
function showOverview(reveal) {
  const selected = state.chosen ? state.launch : -1;
  if (overviewOf !== target()) {
    overviewOf = target();
    table.show(target(), selected);
    $("#view-overview").replaceChildren(...overview(report, target(), { table }).filter(Boolean));
  }
  const chart = roofline(target(), { selected, pick: open });
  if (chart) $("#view-overview .roofline-figure .chart").replaceChildren(chart);
  table.select(selected, reveal);
}

async function showCode() {
  const turn = (shown += 1);
  const kernel = target().kernels[launch().kernel];
  const line = state.line;
  let texts;
  try {
    texts = await textsOf(kernel);
  } catch (error) {
    texts = { source: { text: `# ${error.message}`, map: [] } };
  }
  if (turn !== shown) return; // something else was chosen meanwhile
  const note = kernel.error
    ? [h("h3", {}, `${kernel.name} did not compile for ${target().name}`), h("pre", { class: "error" }, kernel.error)]
    : target().note ? [h("p", {}, target().note)] : null;
  desk.show({ title: kernel.name, texts, note });
  if (line) desk.pin(line);
}

function openLine(file, line) {
  text.open(file);
  text.view.go(line - 1);
  text.view.scroller.focus();
}

function setView(view) {
  state.view = view;
  show({ from: PER_KERNEL.includes(view) ? "tab" : null });
  remember();
}

function setTarget(position) {
  const before = anchorOf(state.launch);
  state.target = position;
  index();
  const same = target().launches.findIndex((_, i) => anchorOf(i) === before);
  state.launch = Math.max(0, same);
  state.line = null;
  $("#target").value = String(position);
  facts();
  show();
  remember();
}

// --- address ---------------------------------------------------------------------------------------

let quiet = false;

function remember() {
  if (quiet) return;
  const parts = new URLSearchParams();
  if (report.targets.length > 1) parts.set("target", target().name);
  parts.set("view", state.view);
  if (state.chosen || state.view !== "overview") parts.set("launch", anchorOf(state.launch));
  if (state.view === "code") {
    parts.set("panes", desk.wanted.join(","));
    if (desk.pinned) parts.set("line", desk.pinned);
  }
  const address = `#${parts.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
  if (address !== location.hash) history.replaceState(null, "", address);
}

function recall() {
  quiet = true;
  const parts = new URLSearchParams(location.hash.slice(1));
  const wanted = report.targets.findIndex((each) => each.name === parts.get("target"));
  if (wanted >= 0 && wanted !== state.target) setTarget(wanted);
  const name = parts.get("launch") ?? parts.get("kernel");
  if (name !== null) {
    const { launches, kernels } = target();
    const exact = launches.findIndex((_, i) => anchorOf(i) === name);
    const byLayer = launchesOfLayer.get(name)?.[0];
    const byKernel = launches.findIndex((each) => kernels[each.kernel].name === name);
    const found = exact >= 0 ? exact : (byLayer ?? byKernel);
    state.launch = Math.max(0, found);
    state.chosen = found >= 0;
    notice(found >= 0 ? null : [`There is no launch ${name} for ${target().name}.`]);
  }
  const panes = (parts.get("panes") ?? "").split(",").filter((stage) => stage in STAGES);
  if (panes.length) desk.setWanted(panes);
  const view = parts.get("view") ?? (state.chosen ? "code" : "overview");
  state.view = ["overview", ...PER_KERNEL].includes(view) ? view : "overview";
  state.line = Number(parts.get("line")) || null;
  show();
  quiet = false;
}

// --- beginning -------------------------------------------------------------------------------------

function facts() {
  const { cnndsl, triton } = report.versions;
  $("#facts").textContent = [
    report.targets.length > 1 ? null : target().title, report.dtype, `batch of ${report.batch}`,
    `${count(report.layers.length, "layer")} in ${count(target().kernels.length, "kernel")}`,
    `cnndsl ${cnndsl}`, triton ? `Triton ${triton}` : null,
  ].filter(Boolean).join(" · ");
}

/** The bar between the network and the kernels: by pointer, or by arrow keys. */
function splitter() {
  const bar = $("#splitter");
  const set = (share) => {
    const kept = Math.round(Math.min(70, Math.max(15, share)));
    document.documentElement.style.setProperty("--split", `${kept}%`);
    bar.setAttribute("aria-valuenow", String(kept));
  };
  const now = () => (100 * $("#network").getBoundingClientRect().width) / $("#main").getBoundingClientRect().width;
  bar.setAttribute("aria-valuenow", String(Math.round(now())));
  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    const move = (moved) => set((100 * (moved.clientX - $("#main").getBoundingClientRect().left)) / $("#main").getBoundingClientRect().width);
    bar.addEventListener("pointermove", move);
    bar.addEventListener("pointerup", () => bar.removeEventListener("pointermove", move), { once: true });
  });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -2, ArrowRight: 2 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    set(now() + step);
  });
}

const codeViewsOf = () => [text.view, ...desk.panes.map((pane) => pane.view)];

/** On paper all lines are there, on white. */
function printing() {
  const root = document.documentElement;
  let theme = null;
  window.addEventListener("beforeprint", () => {
    theme = root.dataset.theme;
    root.dataset.theme = "light";
    for (const view of codeViewsOf()) view.draw(true);
  });
  window.addEventListener("afterprint", () => {
    root.dataset.theme = theme;
    for (const view of codeViewsOf()) view.draw();
  });
}

function begin() {
  const choice = $("#target");
  choice.append(...report.targets.map((each, position) => h("option", { value: position }, each.title)));
  choice.addEventListener("change", () => setTarget(Number(choice.value)));
  $("#target-label").hidden = report.targets.length < 2;
  tablist($(".tabs"), (tab) => setView(tab.id.replace("tab-", "")));
  $("#keys-button").addEventListener("click", showKeys);
  $("#wide-button").addEventListener("click", widen);
  $("#theme-button").addEventListener("click", flipTheme);
  new MutationObserver(() => { for (const view of codeViewsOf()) view.rule(); })
    .observe(document.documentElement, { attributeFilter: ["data-theme"] });
  document.addEventListener("keydown", onKey);
  window.addEventListener("hashchange", recall);
  printing();
  splitter();
  index();
  facts();
  recall();
  document.documentElement.dataset.ready = "yes";
}

begin();
