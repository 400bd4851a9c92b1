// The dynamic layer on the chosen photo, in the grammar of all figures; the kernels grow out of noise while it trains.

import { diagram } from "./diagram.js";
import { attend } from "./dynamic_network.js";
import { element } from "./elements.js";
import { KERNEL, TAPS, WEIGHTS } from "./gram.js";
import { part, scaled } from "./mathematics.js";
import { errorOf, filtered, GREYS, revived, VIEW } from "./playground_scenes.js";
import { fixed, number } from "./words.js";

const [FEW, MOST] = [4, 8]; // rows of the figure: one for few kernels, one for many
const LOOKS = 16;

const spec = (rows) => ({
  label: "the dynamic convolution on the chosen photo",
  stages: [
    { picture: "image", size: [VIEW, VIEW], title: "image", note: " " },
    { vector: "squeeze", count: LOOKS, reach: 2, title: "squeeze", note: "16 means" },
    {
      rows,
      columns: [
        { bars: "z", title: "logit z", note: "from this image" },
        { shares: "pi", title: "share π", note: " " },
        { tiles: "kernel", size: [KERNEL, KERNEL], title: "kernel", note: "one scale" },
      ],
    },
    { picture: "mixed", size: [KERNEL, KERNEL], kernel: true, title: "mixed kernel", note: "Σ π k" },
    { op: "conv", sign: "∗" },
  ],
  results: [
    { picture: "restored", size: [VIEW, VIEW], title: "restored", note: " " },
    { picture: "clean", size: [VIEW, VIEW], title: "clean", note: "what was wanted" },
  ],
  wires: [
    { from: "image", to: "squeeze", kind: "live" },
    { from: "squeeze", to: "z", kind: "live" },
    { from: "image", to: "conv", kind: "data", around: true, title: "the image that is convolved" },
    { from: "mixed", to: "conv", kind: "data" },
    { from: "conv", to: "restored", kind: "data" },
  ],
  ribbons: [{ from: "kernel", to: "mixed", share: "pi" }],
});

// pure: everything that the figure shows of a scene
const shownOf = (news, scene) => {
  const { K, own, kernel, squeeze, logits, shares } = attend(revived(news.dynamic), scene.seen, news.T);
  return {
    image: scaled(scene.damaged, GREYS),
    squeeze: squeeze.slice(0, LOOKS),
    z: Array.from(logits),
    pi: Array.from(shares),
    kernel: Array.from({ length: K }, (_, k) => part(own.value.kernels, k, WEIGHTS).subarray(0, TAPS)),
    mixed: kernel.subarray(0, TAPS),
    restored: filtered(scene, kernel),
    clean: scaled(scene.clean, GREYS),
  };
};

export const chosen = () => {
  const node = element("div", { class: "dc-chosen" });
  const figures = {}; // by rows, made when they are first needed
  const figureOf = (rows) => {
    figures[rows] ??= diagram(spec(rows));
    if (node.firstChild !== figures[rows].node) node.replaceChildren(figures[rows].node);
    return figures[rows];
  };
  const draw = (news, scene, name) => {
    const figure = figureOf(news.dynamic.K > FEW ? MOST : FEW);
    const shown = shownOf(news, scene);
    figure.draw({ ...shown, restored: scaled(shown.restored, GREYS) }, name);
    figure.note("image", name);
    figure.note("pi", `softmax of z ÷ ${number(news.T)}`);
    figure.note("restored", `error ${fixed(errorOf(shown.restored, scene), 3)}`);
  };
  return { node, draw, remove: () => Object.values(figures).forEach((figure) => figure.remove()) };
};
