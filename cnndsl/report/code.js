// A text of any length with a cursor, lit lines and a ruler. Only the lines in view are in the document, so that
// twenty thousand lines of instructions scroll like twenty.

const ROW = 18; // pixels
const OVERSCAN = 20; // lines above and below the view
const MAX_DRAWN = 4000; // characters of one line; beyond, only copying gives the rest

let codeViews = 0;

class CodeView {
  /** `point(index)` is called for the line under the pointer or cursor (null: none), `pick(index)` for a chosen one. */
  constructor(host, { label, point, pick }) {
    this.id = `code${(codeViews += 1)}`;
    this.sheet = h("div", { class: "sheet" });
    this.scroller = h("div", { class: "scroller", role: "listbox", tabindex: 0, "aria-label": label }, this.sheet);
    this.ruler = h("canvas", { class: "ruler", "aria-hidden": "true" });
    this.point = point;
    this.pick = pick;
    this.host = host;
    host.classList.add("code");
    host.append(this.scroller, this.ruler);
    this.drawn = new Map();
    this.clear();
    this.listen();
  }

  clear() {
    this.set({ lines: [], language: "" });
  }

  /**
   * lines     the texts
   * language  of the colours
   * tag       a short text beside a line's number, or "" (a function of its index)
   * colour    of the line's strip, or null (a function of its index)
   * describe  what a screen reader says beside the line's text, or "" (a function of its index)
   */
  set({ lines, language, tag = () => "", colour = () => null, describe = () => "" }) {
    this.lines = lines;
    this.language = language;
    this.tag = tag;
    this.colour = colour;
    this.describe = describe;
    this.lit = new Set();
    this.marked = new Set();
    this.found = new Set();
    this.cursor = null;
    this.digits = String(lines.length).length;
    const widest = lines.reduce((most, line) => Math.max(most, line.length), 0);
    this.sheet.style.setProperty("--digits", this.digits);
    this.sheet.style.height = `${this.lines.length * ROW}px`;
    this.sheet.style.minWidth = `calc(${Math.min(widest, MAX_DRAWN) + this.digits}ch + 6.5em)`;
    this.redraw();
  }

  redraw() {
    for (const element of this.drawn.values()) element.remove();
    this.drawn.clear();
    this.draw();
    this.rule();
  }

  /** Keep the lines in view in the document, and no others. */
  draw(all = false) {
    const height = this.scroller.clientHeight || 600;
    const first = all ? 0 : Math.max(0, Math.floor(this.scroller.scrollTop / ROW) - OVERSCAN);
    const last = all ? this.lines.length : Math.min(this.lines.length, first + Math.ceil(height / ROW) + 2 * OVERSCAN);
    for (const [index, element] of this.drawn) {
      if (index < first || index >= last) { element.remove(); this.drawn.delete(index); }
    }
    const fresh = [];
    for (let index = first; index < last; index += 1) {
      if (!this.drawn.has(index)) {
        const element = this.make(index);
        this.drawn.set(index, element);
        fresh.push(element);
      }
    }
    this.sheet.append(...fresh);
    this.mark();
  }

  make(index) {
    const colour = this.colour(index);
    const tag = this.tag(index);
    const about = this.describe(index);
    return h(
      "div",
      {
        class: "line", role: "option", id: `${this.id}-${index}`, "aria-selected": "false",
        "aria-setsize": this.lines.length, "aria-posinset": index + 1, "aria-description": about || null,
        "data-line": index + 1, style: { top: `${index * ROW}px`, ...(colour === null ? {} : { "--colour": colour }) },
      },
      h("span", { class: colour === null ? "strip" : "strip on", "aria-hidden": "true" }),
      h("span", { class: "number", "aria-hidden": "true" }, String(index + 1)),
      h("span", { class: "tag", "aria-hidden": "true" }, tag),
      h("span", { class: "words" }, coloured(this.lines[index].slice(0, MAX_DRAWN), this.language)),
    );
  }

  /** Bring the classes of the drawn lines up to date. */
  mark() {
    for (const [index, element] of this.drawn) {
      element.classList.toggle("lit", this.lit.has(index));
      element.classList.toggle("marked", this.marked.has(index));
      element.classList.toggle("found", this.found.has(index));
      element.classList.toggle("cursor", this.cursor === index);
      element.setAttribute("aria-selected", String(this.lit.has(index)));
    }
    if (this.cursor !== null && this.drawn.has(this.cursor)) {
      this.scroller.setAttribute("aria-activedescendant", `${this.id}-${this.cursor}`);
    } else {
      this.scroller.removeAttribute("aria-activedescendant");
    }
  }

  light(indices) {
    this.lit = indices;
    this.mark();
    this.rule();
  }

  /** Lines that belong to what is selected, whether lit or not. */
  keep(indices) {
    this.marked = indices;
    this.mark();
    this.rule();
  }

  find(indices) {
    this.found = indices;
    this.mark();
    this.rule();
  }

  /** Ticks beside the scroll bar where lines are lit, marked or found. */
  rule() {
    const width = this.ruler.clientWidth;
    const height = this.ruler.clientHeight;
    if (!width || !height) return;
    const dense = window.devicePixelRatio || 1;
    this.ruler.width = width * dense;
    this.ruler.height = height * dense;
    const pen = this.ruler.getContext("2d");
    const style = getComputedStyle(this.host);
    const full = Math.max(this.lines.length * ROW, height);
    for (const [indices, name] of [[this.marked, "--mark"], [this.found, "--found"], [this.lit, "--lit-edge"]]) {
      pen.fillStyle = style.getPropertyValue(name);
      for (const index of indices) {
        const size = Math.max(2, (ROW / full) * height);
        pen.fillRect(0, ((index * ROW) / full) * height * dense, width * dense, size * dense);
      }
    }
  }

  /** Scroll a line into view, into the middle when it was not visible. */
  reveal(index) {
    const { scrollTop, clientHeight } = this.scroller;
    const top = index * ROW;
    if (top < scrollTop + ROW || top + 2 * ROW > scrollTop + clientHeight) {
      this.scroller.scrollTop = Math.max(0, top - Math.max(0, clientHeight - ROW) / 2.5);
    }
    this.draw();
  }

  /** Move the cursor, as the arrow keys do. */
  go(index) {
    this.cursor = index;
    this.reveal(index);
    this.mark();
    this.point(index);
  }

  indexAt(event) {
    const element = event.target.closest?.(".line");
    return element && this.sheet.contains(element) ? Number(element.dataset.line) - 1 : null;
  }

  listen() {
    this.scroller.addEventListener("scroll", () => {
      if (this.waiting) return;
      this.waiting = requestAnimationFrame(() => { this.waiting = null; this.draw(); });
    }, { passive: true });
    new ResizeObserver(() => { this.draw(); this.rule(); }).observe(this.scroller);
    let under = null;
    const move = (index) => { if (index !== under) { under = index; this.point(index); } };
    this.sheet.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") move(this.indexAt(event)); });
    this.scroller.addEventListener("pointerleave", () => move(null));
    this.sheet.addEventListener("click", (event) => {
      const index = this.indexAt(event);
      if (index === null || String(getSelection())) return;
      this.cursor = index;
      this.mark();
      this.pick(index);
    });
    this.ruler.addEventListener("click", (event) => {
      const share = event.offsetY / this.ruler.clientHeight;
      const index = Math.min(this.lines.length - 1, Math.floor(share * this.lines.length));
      if (index >= 0) this.go(this.nearest([...this.lit, ...this.found], index) ?? index);
    });
    this.scroller.addEventListener("blur", () => this.point(null));
    this.scroller.addEventListener("keydown", (event) => this.key(event));
  }

  /** Of some lines, the one nearest to a place; null where none is near. */
  nearest(indices, place) {
    const near = Math.max(2, this.lines.length / 50);
    const distance = (index) => Math.abs(index - place);
    const best = indices.reduce((a, b) => (a === null || distance(b) < distance(a) ? b : a), null);
    return best !== null && distance(best) <= near ? best : null;
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || !this.lines.length) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const seen = Math.floor(this.scroller.scrollTop / ROW);
    const start = this.cursor ?? seen;
    const next = {
      ArrowDown: this.cursor === null ? seen : start + 1, ArrowUp: start - 1, PageDown: start + page, PageUp: start - page,
      Home: 0, End: this.lines.length - 1,
    }[event.key];
    if (next !== undefined) {
      this.go(Math.max(0, Math.min(this.lines.length - 1, next)));
    } else if ((event.key === "Enter" || event.key === " ") && this.cursor !== null) {
      this.pick(this.cursor);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
