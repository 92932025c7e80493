// Making elements, and writing numbers for people.

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** An element with attributes (null and false leave one out) and children; texts are never read as HTML. */
function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const number = (value) => value.toLocaleString("en-US");
const count = (value, word, words = `${word}s`) => `${number(value)} ${value === 1 ? word : words}`;

/** Three significant digits with the unit that suits: scaled(3.7e9, ["FLOP", "KFLOP", "MFLOP", "GFLOP"], 1000). */
function scaled(value, units, base) {
  let size = value;
  let unit = 0;
  while (size >= 0.9995 * base && unit < units.length - 1) { size /= base; unit += 1; }
  if (unit === 0 && Number.isInteger(size)) return `${size} ${units[0]}`;
  return `${size.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2)} ${units[unit]}`;
}

const bytes = (value) => scaled(value, ["B", "KiB", "MiB", "GiB", "TiB"], 1024);
const flops = (value) => scaled(value, ["FLOP", "KFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"], 1000);
const rate = (value) => scaled(value, ["FLOP/s", "KFLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s", "PFLOP/s"], 1000);
const bandwidth = (value) => scaled(value, ["B/s", "KB/s", "MB/s", "GB/s", "TB/s"], 1000);
const time = (seconds) => scaled(seconds * 1e9, ["ns", "µs", "ms", "s"], 1000);
const percent = (share) => (share > 0 && share < 0.001 ? "<0.1 %" : `${(100 * share).toFixed(1)} %`);

/** Tabs: arrow keys move between them, and only the chosen one is in the tab order. */
function tablist(root, choose) {
  const tabs = () => $$('[role="tab"]:not([hidden])', root);
  root.addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab && root.contains(tab)) choose(tab);
  });
  root.addEventListener("keydown", (event) => {
    const all = tabs().filter((tab) => !tab.disabled);
    const here = all.indexOf(document.activeElement);
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1 }[event.key];
    if (here < 0 || next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const tab = all[(next + all.length) % all.length];
    choose(tab);
    tab.focus();
  });
}

/** Mark one tab of a list as chosen. */
function markTab(root, chosen) {
  for (const tab of $$('[role="tab"]', root)) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
  }
}

function announce(text) {
  $("#status").textContent = text;
}
