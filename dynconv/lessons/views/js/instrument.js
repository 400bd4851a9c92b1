// An instrument: values in, a picture and a sentence out. Its file says what is its own; here is what all have in common.
//
//   what Python sent → read → data           again whenever Python sends more
//   a hand → controls → values               by the trait's name
//   state(data, values)                      pure: everything that is shown
//   view(data, controls).draw(state, values) the pictures
//   words(data, state, values)               the sentence
//
// A `bare` instrument has neither experiments nor Reset, and gives out no link to its state.
//
// Controls tell natively: "input" while they move, "change" once they stay. Both bubble up to the instrument's element, where one
// listener draws and one tells the kernel. A drawing that moves a control itself sets it, then emits these two. A view that
// computes elsewhere emits "arrive" when there is more to draw.

import { button, element, say, setAttributes } from "./elements.js";
import { fitting, ignoredInWords, linkInWords } from "./links.js";
import { copier, followLinks } from "./share.js";

// What went wrong, and in words what would be seen: never an empty place.
const apology = (error, alt) =>
  `This instrument stopped (${error}). ${alt ? `What it shows: ${alt}` : "Run its cell again."}`;

const excuse = (error, model) => {
  console.error(error);
  return apology(error, model.get("alt"));
};

const listen = (model, listeners) => {
  listeners.forEach(([event, listener]) => model.on(event, listener));
  return () => listeners.forEach(([event, listener]) => model.off(event, listener));
};

// What Python has sent, read anew when it has changed.
const inbox = (model, { reads, read }) => {
  let texts = [];
  let data;
  const refresh = () => {
    if (reads.every((trait, i) => model.get(trait) === texts[i])) return false;
    texts = reads.map((trait) => model.get(trait));
    data = read(...texts.map((text) => JSON.parse(text)));
    return true;
  };
  refresh();
  return { data: () => data, refresh };
};

// All controls as one, whose value is {trait: value}.
const panel = (controls) => {
  const entries = Object.entries(controls);
  const valuesOf = (some) => Object.fromEntries(some.map(([trait, one]) => [trait, one.get()]));
  return {
    get: () => valuesOf(entries),
    choices: () => valuesOf(entries.filter(([, one]) => !one.fixed?.())), // without those that have but one value
    set: (values) => Object.entries(values).forEach(([trait, value]) => controls[trait].set(value)),
    playing: () => entries.some(([, one]) => one.playing?.()),
    remove: () => entries.forEach(([, one]) => one.remove?.()),
  };
};

// Once the frame is painted that is due next: what nobody sees does not hold it up. A page that nobody sees paints none.
const afterPaint = (then) => {
  if (document.hidden) setTimeout(then);
  else requestAnimationFrame(() => setTimeout(then));
};

// The kernel's copy of the values. It hears of one when the hand lets go: nothing queues up while a slider moves. What comes
// back from it while a newer value waits to be sent is an echo of an older one.
const copyOf = (model, controls) => {
  const traits = Object.keys(controls);
  const waiting = new Set();
  const get = () => Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const send = () => {
    if (waiting.size) model.save_changes();
    waiting.clear();
  };
  const store = (values) => {
    if (!waiting.size) afterPaint(send);
    Object.entries(values).forEach(([trait, value]) => {
      waiting.add(trait);
      model.set(trait, value);
    });
  };
  const heard = (trait, changed) => () => {
    const own = controls[trait].get();
    if (JSON.stringify(model.get(trait)) === JSON.stringify(own)) return;
    if (waiting.has(trait)) {
      model.set(trait, own);
      return;
    }
    controls[trait].set(model.get(trait));
    changed();
  };
  const listeners = (changed) => traits.map((trait) => [`change:${trait}`, heard(trait, changed)]);
  const forget = ["destroy", () => waiting.clear()];
  return { get, store, send, listeners: (changed) => [...listeners(changed), forget] };
};

// The state that Reset returns to: where the first view of this model began.
const beginningOf = (model, copy) => {
  const kept = model.get("begun");
  const isFirst = !kept;
  if (isFirst) copy.store({ begun: JSON.stringify(copy.get()) });
  return { isFirst, values: isFirst ? copy.get() : JSON.parse(kept) };
};

// What is drawn and said of the values as they are now.
const drawer = (parts, { model, el }, sent, controls) => {
  const all = panel(controls);
  const view = parts.view(sent.data(), controls, { model, el });
  const sentence = element("p", { class: "dc-summary", "aria-live": "polite" });
  view.load?.(sent.data());
  const show = () => {
    if (sent.refresh()) view.load?.(sent.data());
    const values = all.get();
    const state = parts.state(sent.data(), values);
    view.draw(state, values);
    return parts.words(sent.data(), state, values);
  };
  const draw = () => {
    const live = all.playing() || view.playing?.() ? "off" : "polite"; // what plays is too fast to listen to
    if (sentence.getAttribute("aria-live") !== live) sentence.setAttribute("aria-live", live);
    try {
      say(sentence, show());
    } catch (error) {
      say(sentence, excuse(error, model));
    }
  };
  return { draw, sentence, body: view.body, restart: () => view.restart?.(), remove: () => view.remove?.() };
};

const agree = (values, goal) =>
  Object.entries(goal).every(([trait, value]) => JSON.stringify(values[trait]) === JSON.stringify(value));

// A button for each experiment, pressed while all is as it says, and one to go back.
const buttons = (model, controls, first, apply) => {
  const tried = Object.entries(JSON.parse(model.get("experiments"))).map(([label, state]) => {
    const goal = () => {
      const read = fitting(state, controls);
      return { values: { ...first, ...read.values }, note: ignoredInWords(read, "this experiment") };
    };
    const press = () => apply(goal().values, goal().note);
    return { node: button(label, press), goal };
  });
  const back = button("Reset", () => apply(first, ""));
  const mark = (values) =>
    tried.forEach(({ node, goal }) => setAttributes(node, { "aria-pressed": agree(values, goal().values) }));
  return { node: element("div", { class: "dc-buttons" }, ...tried.map(({ node }) => node), back), mark };
};

const run = (parts, model, el) => {
  const sent = inbox(model, parts);
  const controls = parts.controls(sent.data());
  const all = panel(controls);
  const copy = copyOf(model, controls);
  const drawing = drawer(parts, { model, el }, sent, controls);
  const share = copier(model.get("kind"), all.choices);
  const marks = []; // what else shows the values
  const redraw = () => {
    drawing.draw(); // at once: browsers send one input event a frame
    marks.forEach((mark) => mark(all.get()));
    share.say("");
  };
  const store = () => copy.store(all.get());
  const apply = (values, note) => {
    all.set(values);
    drawing.restart();
    redraw();
    store();
    share.say(note);
  };
  all.set(copy.get());
  const start = beginningOf(model, copy);
  const tried = buttons(model, controls, start.values, apply);
  marks.push(tried.mark);
  const [above, below] = parts.bare ? [[], []] : [[tried.node], [share.node]];
  el.append(...above, ...drawing.body, drawing.sentence, ...below);
  redraw();
  const wires = new AbortController();
  el.addEventListener("input", redraw, { signal: wires.signal });
  el.addEventListener("change", store, { signal: wires.signal });
  el.addEventListener("arrive", drawing.draw, { signal: wires.signal });
  const arrivals = parts.reads.map((trait) => [`change:${trait}`, redraw]);
  const deafen = listen(model, [...copy.listeners(redraw), ...arrivals]);
  const take = (read) => apply(read.values, linkInWords(read));
  const unfollow = followLinks(model.get("kind"), controls, start.isFirst, take);
  // the front end may keep the element of a view that is gone: it keeps no pictures with it
  const empty = () => el.replaceChildren();
  return () =>
    [copy.send, () => wires.abort(), deafen, unfollow, all.remove, drawing.remove, empty].forEach((end) => end());
};

// the traits that hold what Python sends, as JSON, and what is made of it
const USUAL = { reads: ["data"], read: (data) => data };

// The module's export: an error while drawing for the first time becomes a sentence.
export const instrument = (parts) => ({
  // JupyterLab keeps the models of closed widgets: what Python sent, this module's text too, is let go of, without a word to
  // those that draw it
  initialize: ({ model }) => {
    const { reads } = { ...USUAL, ...parts };
    const forget = () => [...reads, "_esm", "_css"].forEach((trait) => model.set(trait, "", { silent: true }));
    model.on("destroy", () => [forget, forget].forEach((once) => once())); // a model remembers what was before
  },
  render: ({ model, el }) => {
    el.dataset.kind = model.get("kind");
    el.classList.add("dynconv", parts.className);
    try {
      return run({ ...USUAL, ...parts }, model, el);
    } catch (error) {
      el.replaceChildren(element("p", { class: "dc-summary", role: "alert" }, excuse(error, model)));
      return undefined;
    }
  },
});
