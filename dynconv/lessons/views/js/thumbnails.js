// Images to choose one from: a radio button each, seen as the picture itself.

import { element } from "./elements.js";
import { radios } from "./controls.js";
import { photograph } from "./pictures.js";

// `offer` says which images there are: {name, size, array: 0 … 1, below: an element of the caller's}. Where there is but one,
// nothing is to be chosen and nothing is shown.
export const thumbnails = (label) => {
  const node = element("div", { class: "dc-thumbs", role: "radiogroup", "aria-label": label });
  let control;
  let names = [];
  let awaited; // chosen by the kernel before its picture is here: the one may come before the other
  const thumb = ({ name, size, array, below }, input) => {
    const { node: canvas, draw } = photograph(size, "");
    canvas.setAttribute("aria-hidden", "true");
    draw(array);
    return element("label", { class: "dc-thumb" }, input, canvas, name, ...(below ? [below] : []));
  };
  const fixed = () => names.length < 2;
  const get = () => control?.get();
  const set = (name) => {
    const here = names.includes(name);
    awaited = here ? undefined : name;
    control?.set(here ? name : names[0]);
  };
  const offer = (images) => {
    const chosen = awaited ?? get();
    names = images.map((image) => image.name);
    control = radios(names);
    node.replaceChildren(...images.map((image, i) => thumb(image, control.inputs[i])));
    node.hidden = fixed();
    set(chosen);
  };
  return { node, offer, get, set, fixed, valid: (v) => names.includes(v) };
};
