// Runs before the first paint: the colour scheme is the reader's last choice here, else the system's.
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("cnndsl-theme"); } catch { /* storage is closed to this page */ }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => { document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light"); };
  apply();
  dark.addEventListener("change", apply);
  window.chooseTheme = (theme) => {
    chosen = theme;
    try { localStorage.setItem("cnndsl-theme", theme); } catch { /* lasts for this visit, then */ }
    apply();
  };
})();
