// The parts every instrument is made of: plain functions on plain arrays and elements.
// The same modules serve JupyterLab, Colab and a static page.

export * from "./mathematics.js";
export * from "./controls.js";
export * from "./pictures.js";
export * from "./links.js";
export * from "./wiring.js";
