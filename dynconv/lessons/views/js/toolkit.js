// The parts every instrument is made of: plain functions on plain arrays and elements.
// The same modules serve JupyterLab, Colab and a static page.

export * from "./mathematics.js";
export * from "./words.js";
export * from "./elements.js";
export * from "./controls.js";
export * from "./pictures.js";
export * from "./bars.js";
export * from "./charts.js";
export * from "./links.js";
export * from "./share.js";
export * from "./instrument.js";
