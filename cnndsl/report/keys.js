// What the keyboard does wherever the focus is; panes, tabs, the text and the picture have their own keys.

const KEYS = [
  ["j / k", "next and previous launch"],
  ["1 … 5", "Overview, Code, Resources, Cost, Fusion"],
  ["/", "find in the pane last used; Enter and Shift+Enter go through the matches"],
  ["n / p", "next and previous line that is linked to the lit one"],
  ["↑ ↓ PgUp PgDn Home End", "move through the lines of a pane, the .cnn text or the layers of the picture"],
  ["Enter", "follow the line in the other panes; choose the layer or line"],
  ["Esc", "let go of the followed line; close"],
  ["w", "hide the network, or show it again"],
  ["t", "dark or light"],
  ["?", "these keys"],
];

function showKeys() {
  const dialog = $("#keys");
  dialog.replaceChildren(
    h("h2", { id: "keys-title" }, "Keys"),
    h("table", {}, h("tbody", {}, KEYS.map(([key, what]) => h("tr", {}, h("th", { scope: "row" }, h("kbd", {}, key)), h("td", {}, what))))),
    h("form", { method: "dialog" }, h("button", { type: "submit" }, "Close")),
  );
  dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("#keys").open) return;
  if (event.target.closest?.("input, select, textarea")) return;
  const views = ["overview", ...PER_KERNEL];
  if (event.key === "j") select(state.launch + 1, { from: "key" });
  else if (event.key === "k") select(state.launch - 1, { from: "key" });
  else if (/^[1-5]$/.test(event.key)) setView(views[Number(event.key) - 1]);
  else if (event.key === "/" && state.view === "code") desk.focusFind();
  else if ((event.key === "n" || event.key === "p") && state.view === "code") cycle(event.key === "n" ? 1 : -1);
  else if (event.key === "Escape") { desk.unpin(); notice(null); }
  else if (event.key === "w") widen();
  else if (event.key === "t") flipTheme();
  else if (event.key === "?") showKeys();
  else return;
  event.preventDefault();
}

function cycle(step) {
  const pane = desk.panes.includes(desk.active) ? desk.active : desk.panes.at(-1);
  pane.cycle(step);
}

/** Hide the network, so that the kernels have the whole width; or show it again. */
function widen() {
  const wide = document.body.classList.toggle("wide");
  $("#wide-button").setAttribute("aria-pressed", String(wide));
}

function flipTheme() {
  chooseTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}
