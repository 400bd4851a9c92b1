// The gallery: each damage, what the three networks make of it, and what was wanted, with the errors.

import { captioned, element, say } from "./elements.js";
import { fixed } from "./words.js";
import { attend } from "./dynamic_network.js";
import { photograph } from "./pictures.js";
import { errorOf, filtered, GREYS, revived, VIEW } from "./playground_scenes.js";

const NETWORKS = { plain: "plain", mix: "softmax mix", dynamic: "dynamic" };

const cellOf = (name) => {
  const picture = photograph([VIEW, VIEW], name, "dc-restored");
  const error = element("b", {});
  const node = captioned(picture.node, element("span", {}, name), " ", error);
  const draw = (image, scene) => {
    picture.draw(image, ...GREYS);
    if (scene) say(error, fixed(errorOf(image, scene), 3));
  };
  const call = (damage) => picture.node.setAttribute("aria-label", `${damage}, ${name}`);
  return { node, draw, call, error };
};

const rowOf = (choice, damage) => {
  const names = { damaged: "damaged", ...NETWORKS, clean: "clean" };
  const cells = Object.fromEntries(Object.entries(names).map(([key, name]) => [key, cellOf(name)]));
  const title = element("span", {}, `kind ${damage + 1}`); // until the task is known
  const label = element("label", { class: "dc-scene" }, choice, title);
  const node = element("div", { class: "dc-gallery-row" }, label, ...Object.values(cells).map((one) => one.node));
  const load = (scene, name) => {
    say(title, name);
    Object.values(cells).forEach((one) => one.call(name));
    cells.damaged.draw(scene.damaged, scene);
    cells.clean.draw(scene.clean);
  };
  return { node, load, cells };
};

// whose error is lowest, in bold
const crown = ({ cells }) => {
  const errors = Object.keys(NETWORKS).map((name) => [name, cells[name].error.textContent]);
  const best = errors.reduce((low, [, error]) => (error && error < low ? error : low), "9");
  errors.forEach(([name, error]) => cells[name].node.classList.toggle("dc-best", error === best));
};

// Pictures take a millisecond or two each: they are painted one after the other, as many a frame as there is time for.
export const gallery = (choices) => {
  const rows = choices.inputs.map(rowOf);
  const jobs = rows.flatMap((_, damage) => Object.keys(NETWORKS).map((name) => ({ damage, name, isStale: false })));
  let [scenes, news, next] = [[], null, 0];
  const kernelOf = (name, { seen }) =>
    name === "dynamic" ? attend(revived(news.dynamic), seen, news.T).kernel : news[name];
  const paint = ({ damage, name }) => {
    const scene = scenes[damage];
    rows[damage].cells[name].draw(filtered(scene, kernelOf(name, scene)), scene);
    crown(rows[damage]);
  };
  // Says what is to be painted; what does not change stays.
  const show = (latest, made, names) => {
    if (scenes !== made) rows.forEach((one, damage) => one.load(made[damage], names[damage]));
    if (scenes !== made || news !== latest) jobs.forEach((job) => Object.assign(job, { isStale: true }));
    [scenes, news] = [made, latest];
  };
  // Paints for so many milliseconds; whether anything is left.
  const work = (budget) => {
    const end = performance.now() + budget;
    while (jobs.some((job) => job.isStale) && performance.now() < end) {
      next = (next + 1) % jobs.length;
      if (jobs[next].isStale) paint(jobs[next]);
      jobs[next].isStale = false;
    }
    return jobs.some((job) => job.isStale);
  };
  return { node: element("div", { class: "dc-gallery" }, ...rows.map((one) => one.node)), show, work };
};
