// The code of one kernel at several stages, side by side. A line of the kernel's source is what links them: every line
// of every stage came from one, or from none.

const MAX_PANES = 3;

/** A stage's text, read once: its lines, and both ways of the line map. */
function readStage(name, { text, map }) {
  const lines = text.replace(/\n$/, "").split("\n");
  const bySource = new Map();
  const sourceOf = name === "source" ? lines.map((_, index) => index + 1) : lines.map((_, index) => map[index] ?? 0);
  sourceOf.forEach((source, index) => {
    if (!source) return;
    if (!bySource.has(source)) bySource.set(source, []);
    bySource.get(source).push(index);
  });
  return { name, language: STAGES[name].language, lines, sourceOf, bySource };
}

/** Neighbours get colours far apart. */
const stripOf = (source) => `hsl(${Math.round(source * 137.5) % 360} 62% var(--strip))`;

class Pane {
  constructor(desk, position) {
    this.desk = desk;
    this.stage = null;
    this.tabs = h("div", { class: "small-tabs", role: "tablist", "aria-label": `Stage of pane ${position + 1}` });
    this.search = h("input", {
      type: "search", placeholder: "Find", "aria-label": `Find in pane ${position + 1}`, spellcheck: "false",
      oninput: () => this.find(), onkeydown: (event) => this.searchKey(event),
    });
    this.hits = h("span", { class: "hits", role: "status" });
    this.links = h("span", { class: "links" });
    this.back = h("button", { type: "button", "aria-label": "Previous linked line", onclick: () => this.cycle(-1) }, "‹");
    this.on = h("button", { type: "button", "aria-label": "Next linked line", onclick: () => this.cycle(1) }, "›");
    this.size = h("span", { class: "dim" });
    this.copy = h("button", { type: "button", onclick: () => this.copyAll() }, "Copy");
    this.body = h("div", {});
    this.element = h(
      "section", { class: "pane", "aria-label": `Pane ${position + 1}` },
      h("div", { class: "bar" }, this.tabs, h("span", { class: "fill" }), this.search, this.hits),
      this.body,
      h("div", { class: "bar foot" }, this.back, this.on, this.links, h("span", { class: "fill" }), this.size, this.copy),
    );
    this.view = new CodeView(this.body, {
      label: "", point: (index) => desk.point(this, index), pick: (index) => desk.pick(this, index),
    });
    tablist(this.tabs, (tab) => desk.choose(this, tab.dataset.stage));
    this.element.addEventListener("focusin", () => { desk.active = this; });
  }

  /** Show a stage; `note` stands in for a text that does not exist. */
  show(stage, names, note) {
    this.stage = stage;
    this.tabs.replaceChildren(...names.map((name) => h(
      "button", { type: "button", role: "tab", "data-stage": name, title: STAGES[name].what }, STAGES[name].title,
    )));
    markTab(this.tabs, $$("button", this.tabs).find((tab) => tab.dataset.stage === stage.name));
    $(".missing", this.element)?.remove();
    if (note) this.body.after(h("div", { class: "missing" }, note));
    this.render();
    this.search.value = "";
    this.find();
  }

  render() {
    const { desk, stage, view } = this;
    const top = view.scroller.scrollTop;
    const other = desk.counterpart(this);
    view.set({
      lines: stage.lines,
      language: stage.language,
      tag: (index) => {
        const source = stage.sourceOf[index];
        if (stage.name !== "source") return source ? String(source) : "";
        const many = other?.bySource.get(source)?.length;
        return many ? `×${many}` : "";
      },
      colour: (index) => {
        const source = stage.sourceOf[index];
        return source && (stage.name !== "source" || desk.isLinked(source)) ? stripOf(source) : null;
      },
      describe: (index) => desk.describe(stage, index),
    });
    view.scroller.setAttribute("aria-label", `${STAGES[stage.name].title} of ${desk.title}`);
    view.scroller.scrollTop = top;
    this.size.textContent = count(stage.lines.length, "line");
  }

  /** Light the lines that belong to a line of the source. */
  light(source) {
    const indices = (source && this.stage?.bySource.get(source)) || [];
    this.linked = indices;
    this.view.light(new Set(indices));
    const places = indices.length ? count(indices.length, "line") : "no line";
    this.links.textContent = source ? `${places} from line ${source}` : "";
    this.back.disabled = this.on.disabled = indices.length < 2;
  }

  /** From one linked line to the next. */
  cycle(step) {
    if (!this.linked.length) return;
    const here = this.view.cursor;
    const rank = this.linked.indexOf(here);
    const next = rank < 0 ? (step > 0 ? 0 : this.linked.length - 1) : rank + step;
    this.view.go(this.linked[(next + this.linked.length) % this.linked.length]);
  }

  find() {
    const term = this.search.value.toLowerCase();
    const { view } = this;
    this.matches = term ? view.lines.flatMap((line, index) => (line.toLowerCase().includes(term) ? [index] : [])) : [];
    this.match = -1;
    view.find(new Set(this.matches));
    this.hits.textContent = term ? (this.matches.length ? number(this.matches.length) : "none") : "";
    if (this.matches.length) this.next(1);
  }

  next(step) {
    if (!this.matches.length) return;
    this.match = (this.match + step + this.matches.length) % this.matches.length;
    this.hits.textContent = `${number(this.match + 1)}/${number(this.matches.length)}`;
    this.view.cursor = this.matches[this.match];
    this.view.reveal(this.view.cursor);
  }

  searchKey(event) {
    if (event.key === "Enter") {
      this.next(event.shiftKey ? -1 : 1);
    } else if (event.key === "Escape") {
      this.search.value = "";
      this.find();
      this.view.scroller.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  async copyAll() {
    const text = `${this.stage.lines.join("\n")}\n`;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Pages from a disk may have no clipboard of their own.
      const area = h("textarea", { class: "unseen" });
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    this.copy.textContent = "Copied";
    setTimeout(() => { this.copy.textContent = "Copy"; }, 1500);
  }
}

/** The panes, what they have in common, and the line that is lit in all of them. */
class Desk {
  constructor(root, { changed, lit }) {
    this.changed = changed;
    this.onLit = lit;
    this.panes = [];
    this.stages = new Map();
    this.pinned = null;
    this.row = h("div", { class: "panes" });
    this.where = h("span", { class: "where" });
    this.number = h(
      "select", { "aria-label": "Panes", onchange: (event) => this.setCount(Number(event.target.value)) },
      [1, 2, 3].map((n) => h("option", { value: n }, count(n, "pane"))),
    );
    root.append(this.row, h(
      "div", { class: "bar desk-foot" }, this.where, h("span", { class: "fill" }),
      this.number,
    ));
    this.setWanted(["source", "sass"]);
  }

  /** The stages that the panes show, where a kernel has them. */
  setWanted(names) {
    this.wanted = names.slice(0, MAX_PANES);
    while (this.panes.length < this.wanted.length) {
      const pane = new Pane(this, this.panes.length);
      this.panes.push(pane);
      this.row.append(pane.element);
    }
    while (this.panes.length > this.wanted.length) this.panes.pop().element.remove();
    this.number.value = String(this.panes.length);
  }

  setCount(n) {
    const names = [...this.stages.keys()];
    const spare = [...names].reverse().filter((name) => !this.wanted.includes(name));
    this.setWanted([...this.wanted.slice(0, n), ...spare, ...names].slice(0, n));
    this.render();
    this.changed();
  }

  /** Show a kernel: its texts by stage, and what to say in place of stages that it lacks. */
  show({ title, texts, note }) {
    this.title = title;
    this.note = note;
    this.stages = new Map(Object.entries(texts).map(([name, each]) => [name, readStage(name, each)]));
    this.pinned = null;
    this.render();
  }

  render() {
    const names = [...this.stages.keys()];
    const used = new Set();
    this.panes.forEach((pane, position) => {
      const machine = names.findLast((name) => !used.has(name)) ?? "source";
      const name = this.stages.has(this.wanted[position]) ? this.wanted[position] : machine;
      used.add(name);
      pane.stage = this.stages.get(name);
    });
    const alone = names.length === 1;
    this.panes.forEach((pane, position) => {
      pane.element.hidden = alone && position > 0;
      pane.show(pane.stage, names, alone && position === 0 ? this.note : null);
    });
    this.row.style.setProperty("--panes", alone ? 1 : this.panes.length);
    this.relight();
  }

  choose(pane, name) {
    const position = this.panes.indexOf(pane);
    this.wanted = this.panes.map((each) => each.stage.name);
    this.wanted[position] = name;
    this.render();
    const tab = $$("button", pane.tabs).find((each) => each.dataset.stage === name);
    tab?.focus();
    if (this.pinned) this.follow(pane);
    this.changed();
  }

  /** The stage whose lines a source pane counts: the one beside it, else the last. */
  counterpart(pane) {
    const beside = this.panes.find((each) => each !== pane && each.stage && each.stage.name !== "source");
    const last = [...this.stages.values()].at(-1);
    return beside?.stage ?? (last?.name === "source" ? null : last);
  }

  isLinked(source) {
    return [...this.stages.values()].some((stage) => stage.name !== "source" && stage.bySource.has(source));
  }

  point(pane, index) {
    const source = index === null ? null : pane.stage.sourceOf[index] || null;
    this.light(index === null ? this.pinned : source, index === null ? null : { pane, index });
  }

  pick(pane, index) {
    const source = pane.stage.sourceOf[index] || null;
    this.pinned = source;
    this.light(source, { pane, index });
    this.follow(null, pane);
    this.changed();
  }

  pin(source) {
    this.pinned = source;
    this.light(source, null);
    this.follow(null);
  }

  unpin() {
    this.pinned = null;
    this.light(null, null);
    this.changed();
  }

  /** Scroll panes (one, or all but one) to the lines of the pinned source line. */
  follow(only, but = null) {
    for (const pane of this.panes) {
      if (pane === but || (only && pane !== only) || !pane.linked?.length) continue;
      pane.view.reveal(pane.linked[0]);
    }
  }

  relight() {
    this.light(this.pinned, null);
  }

  light(source, at) {
    for (const pane of this.panes) pane.light(source);
    this.where.replaceChildren(...this.explain(source, at));
    this.onLit(source, at);
  }

  describe(stage, index) {
    const source = stage.sourceOf[index];
    if (stage.name === "source") return "";
    const about = meaning(operation(stage.lines[index], stage.language), stage.language);
    return [source ? `from line ${source}` : "", about].filter(Boolean).join(", ");
  }

  explain(source, at) {
    const parts = [];
    if (source) {
      const counts = [...this.stages.values()].filter((stage) => stage.name !== "source").map((stage) => (
        `${number(stage.bySource.get(source)?.length ?? 0)} ${STAGES[stage.name].title}`
      ));
      parts.push(h("b", {}, `line ${source}`), counts.length ? ` → ${counts.join(", ")} lines` : "");
    } else if (at && at.pane.stage.name !== "source") {
      parts.push("no line of the source is recorded for this one");
    }
    if (at) {
      const { stage } = at.pane;
      const name = operation(stage.lines[at.index], stage.language);
      const about = meaning(name, stage.language);
      if (about) parts.push(parts.length ? " · " : "", h("code", {}, name), ` ${about}`);
    }
    return parts.length ? parts : [h("span", { class: "dim" }, "Point at a line to see where it came from and went to; click to follow it.")];
  }

  /** Put the keyboard into the find box of the pane last used. */
  focusFind() {
    const pane = this.panes.includes(this.active) ? this.active : this.panes[0];
    pane.search.focus();
    pane.search.select();
  }
}
