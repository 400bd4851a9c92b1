// Dark or light: JupyterLab, VS Code and a page each say it in a way of their own; the colour of the text says it everywhere.

export const NIGHT = "dc-night";

const isDark = (node) => {
  const [r, g, b] = getComputedStyle(node).color.match(/[\d.]+/g) ?? [0, 0, 0];
  return 0.3 * r + 0.6 * g + 0.1 * b > 127;
};

// Keeps the class dc-night of `node` right, and calls `changed` when that changes. `look` looks at once.
export const scheme = (node, changed) => {
  const look = () => {
    if (!node.isConnected || isDark(node) === node.classList.contains(NIGHT)) return;
    node.classList.toggle(NIGHT);
    changed();
  };
  const system = matchMedia("(prefers-color-scheme: dark)");
  const themes = new MutationObserver(look);
  [document.documentElement, document.body].forEach((one) => themes.observe(one, { attributes: true }));
  system.addEventListener("change", look);
  const remove = () => {
    themes.disconnect();
    system.removeEventListener("change", look);
  };
  return { look, remove };
};
