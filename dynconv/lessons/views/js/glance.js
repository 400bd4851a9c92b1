// On a phone the results stand far below what is moved: while they are out of sight, small copies stay in the figure's corner.

import { element, setAttributes } from "./elements.js";

const copyOf = ({ node }) => {
  const from = node.querySelector("canvas");
  const canvas = element("canvas", { width: from.width, height: from.height });
  const words = Array.from(node.querySelectorAll(".dc-name, .dc-remark"), (own) => [own, element("span")]);
  const draw = () => {
    canvas.getContext("2d").drawImage(from, 0, 0);
    words.forEach(([own, copy]) => setAttributes(copy, { "data-words": own.textContent })); // drawn: found and read once
  };
  return { node: element("div", {}, canvas, ...words.map(([, copy]) => copy)), draw };
};

// Of the pictures in `results`, but those that are small themselves.
export const glance = (results, spec, nouns) => {
  const pictures = (spec.results ?? []).filter((one) => one.picture && one.class !== "dc-small");
  const copies = pictures.map((one) => copyOf(nouns[one.picture]));
  const node = element("div", { class: "dc-glance", "aria-hidden": "true" }, ...copies.map((one) => one.node));
  let isNarrow = false;
  let isAway = false;
  // once what is said of the pictures has been written, too
  const draw = () => isNarrow && isAway && queueMicrotask(() => copies.forEach((one) => one.draw()));
  const sizes = new ResizeObserver((all) => {
    isNarrow = all.at(-1).contentRect.height > 0; // the style sheet decides, by the figure's width
    draw();
  });
  const sight = new IntersectionObserver((all) => {
    isAway = !all.at(-1).isIntersecting;
    node.classList.toggle("dc-away", isAway);
    draw();
  });
  if (copies.length) sight.observe(results);
  sizes.observe(node);
  return { node, draw, remove: () => [sight, sizes].forEach((one) => one.disconnect()) };
};
