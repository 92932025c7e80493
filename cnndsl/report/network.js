// The network twice: its text, where every line knows its launches, and its picture, where every layer does.

/** The text panel: files as tabs, lines with the number of launches that they became. */
class TextPanel {
  constructor(report, { pick, point }) {
    this.files = report.files.map((file) => ({ ...file, lines: file.text.replace(/\n$/, "").split("\n") }));
    this.tabs = $("#file-tabs");
    this.file = 0;
    this.view = new CodeView($("#text"), {
      label: "", point: (index) => point(this.file, index === null ? null : index + 1),
      pick: (index) => pick(this.file, index + 1),
    });
    this.tabs.append(...this.files.map((file, position) => h(
      "button", { type: "button", role: "tab", "data-file": position, title: file.name }, baseName(file.name),
    )));
    tablist(this.tabs, (tab) => this.open(Number(tab.dataset.file)));
  }

  /** `launchesAt(file, line)` are the numbers of the launches that a line became; `colourAt` their colour. */
  bind({ launchesAt, colourAt }) {
    this.launchesAt = launchesAt;
    this.colourAt = colourAt;
    this.open(this.file, true);
  }

  open(file, again = false) {
    if (file === this.file && !again && this.view.lines.length) return;
    this.file = file;
    markTab(this.tabs, this.tabs.children[file]);
    const { name, lines } = this.files[file];
    this.view.scroller.setAttribute("aria-label", `Text of ${name}`);
    this.view.set({
      lines,
      language: "cnn",
      tag: (index) => {
        const many = this.launchesAt(file, index + 1).length;
        return many ? `×${many}` : "";
      },
      colour: (index) => this.colourAt(file, index + 1),
      describe: (index) => {
        const many = this.launchesAt(file, index + 1).length;
        return many ? count(many, "kernel launch", "kernel launches") : "";
      },
    });
    this.mark();
  }

  /** Mark the lines of what is selected: pairs of file and line; bring the first into view when `show` is set. */
  select(places, show) {
    this.places = places;
    if (show && places.length && !places.some(([file]) => file === this.file)) this.open(places[0][0]);
    this.mark();
    const here = places.find(([file]) => file === this.file);
    if (show && here) this.view.reveal(here[1] - 1);
  }

  mark() {
    const here = (this.places ?? []).filter(([file]) => file === this.file).map(([, line]) => line - 1);
    this.view.keep(new Set(here));
  }

  light(places) {
    this.view.light(new Set(places.filter(([file]) => file === this.file).map(([, line]) => line - 1)));
  }
}

const baseName = (path) => path.split(/[\\/]/).at(-1);

/** The picture: zoom, drag, and boxes of layers that can be chosen by pointer and by arrow keys. */
class Picture {
  constructor({ pick, point }) {
    this.host = $("#picture");
    this.svg = $("svg", this.host);
    if (!this.svg) return;
    const size = this.svg.viewBox.baseVal;
    this.width = size?.width || 400;
    this.boxes = $$("g.box", this.svg).filter((box) => $("g.node", box));
    this.nodes = $$("g.node", this.svg);
    for (const box of this.boxes) {
      box.setAttribute("role", "button");
      box.setAttribute("tabindex", "-1");
      box.setAttribute("aria-label", $("title", box)?.textContent || layersOf(box).join(", "));
    }
    this.boxes[0]?.setAttribute("tabindex", "0");
    // A wide network is scrolled rather than made unreadable.
    this.setZoom(this.host.clientWidth < SMALLEST * this.width ? SMALLEST : null);
    this.host.scrollTo((this.host.scrollWidth - this.host.clientWidth) / 2, 0);
    // A box is chosen by the layer that was pressed, or by the first that has a kernel.
    const layerAt = (event) => {
      const node = event.target.closest?.("g.node");
      const box = event.target.closest?.("g.box");
      return node?.dataset.node ?? (box ? this.chosenOf(box) : undefined);
    };
    // What counts is what was pressed: focusing a box may scroll it away from under the pointer.
    let pressed;
    this.svg.addEventListener("pointerdown", (event) => { pressed = layerAt(event); });
    this.svg.addEventListener("mousedown", (event) => {
      event.preventDefault();
      event.target.closest?.("g.box[tabindex]")?.focus({ preventScroll: true });
    });
    this.svg.addEventListener("click", () => {
      if (pressed !== undefined && !this.dragged) pick(pressed);
    });
    this.svg.addEventListener("pointerover", (event) => point(layerAt(event) ?? null));
    this.svg.addEventListener("pointerleave", () => point(null));
    this.svg.addEventListener("focusin", (event) => point(layerAt(event) ?? null));
    this.svg.addEventListener("focusout", () => point(null));
    this.svg.addEventListener("keydown", (event) => this.key(event, pick));
    $("#zoom-in").addEventListener("click", () => this.setZoom(this.scale() * 1.25));
    $("#zoom-out").addEventListener("click", () => this.setZoom(this.scale() / 1.25));
    $("#zoom-fit").addEventListener("click", () => this.setZoom(null));
    this.host.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.setZoom(this.scale() * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
    }, { passive: false });
    this.drag();
  }

  chosenOf(box) {
    return ($('g.node[data-state="computed"]', box) ?? $("g.node", box))?.dataset.node;
  }

  scale() {
    return this.svg.getBoundingClientRect().width / this.width;
  }

  /** A factor of the drawing's own size; null fits the width of the panel, but never enlarges. */
  setZoom(factor) {
    const { host, svg } = this;
    const middle = (host.scrollTop + host.clientHeight / 2) / Math.max(1, host.scrollHeight);
    svg.style.width = factor === null ? "100%" : `${this.width * Math.min(8, Math.max(0.1, factor))}px`;
    svg.style.maxWidth = factor === null ? `${this.width}px` : "none";
    host.scrollTop = middle * host.scrollHeight - host.clientHeight / 2;
  }

  drag() {
    const { host } = this;
    let from = null;
    host.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = { x: event.clientX, y: event.clientY, left: host.scrollLeft, top: host.scrollTop };
      this.dragged = false;
    });
    window.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [x, y] = [event.clientX - from.x, event.clientY - from.y];
      if (!this.dragged && Math.hypot(x, y) < 5) return;
      this.dragged = true;
      host.classList.add("dragging");
      host.scrollTo(from.left - x, from.top - y);
    });
    window.addEventListener("pointerup", () => {
      from = null;
      host.classList.remove("dragging");
      setTimeout(() => { this.dragged = false; }, 0);
    });
  }

  key(event, pick) {
    const here = this.boxes.indexOf(event.target.closest("g.box"));
    if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const last = this.boxes.length - 1;
    const next = {
      ArrowDown: here + 1, ArrowRight: here + 1, ArrowUp: here - 1, ArrowLeft: here - 1, Home: 0, End: last,
    }[event.key];
    if (next !== undefined) this.focus(this.boxes[Math.max(0, Math.min(last, next))]);
    else if (event.key === "Enter" || event.key === " ") pick(this.chosenOf(this.boxes[here]));
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  focus(box) {
    this.rove(box);
    box.focus({ preventScroll: true });
    this.show(box);
  }

  /** Of all boxes one is in the tab order. */
  rove(box) {
    for (const each of this.boxes) each.setAttribute("tabindex", each === box ? "0" : "-1");
  }

  show(box) {
    const place = box.getBoundingClientRect();
    const view = this.host.getBoundingClientRect();
    if (place.top < view.top + 8 || place.bottom > view.bottom - 8) {
      this.host.scrollTop += place.top - view.top - Math.max(8, (view.height - place.height) / 2);
    }
    if (place.left < view.left || place.right > view.right) {
      this.host.scrollLeft += place.left - view.left - Math.max(8, (view.width - place.width) / 2);
    }
  }

  /** Mark the layers of a launch, by name, and their box; scroll there when `show` is set. */
  select(names, show) {
    this.each(names, "selected");
    const first = this.boxes?.find((box) => box.classList.contains("selected"));
    if (!first) return;
    this.rove(first);
    if (show) this.show(first);
  }

  light(names) {
    this.each(names, "lit");
  }

  each(names, name) {
    for (const node of this.nodes ?? []) node.classList.toggle(name, names.has(node.dataset.node));
    for (const box of this.boxes ?? []) {
      const inside = $$("g.node", box).filter((node) => node.dataset.state !== "free");
      box.classList.toggle(name, inside.some((node) => names.has(node.dataset.node)));
    }
  }
}

const SMALLEST = 0.7; // of the drawing's own size, at which its small print is 7 pixels

const layersOf = (box) => $$("g.node", box).map((node) => node.dataset.node);
