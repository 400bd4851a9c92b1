// Wiring: the frame of every instrument, and what it says when something is wrong.

import { button, element, say } from "./controls.js";
import { linkInWords, readLink, stateLink } from "./links.js";

// What went wrong, and in words what would be seen: never an empty place.
const apology = (error, alt) => `This instrument stopped (${error}). ${alt ? `What it shows: ${alt}` : "Run its cell again."}`;

// The module's export: an error while drawing for the first time becomes a sentence.
export const widget = (render) => ({
  render: ({ model, el }) => {
    el.dataset.kind = model.get("kind");
    try {
      return render({ model, el });
    } catch (error) {
      console.error(error);
      el.classList.add("dynconv");
      el.replaceChildren(element("p", { class: "dc-summary", role: "alert" }, apology(error, model.get("alt"))));
      return undefined;
    }
  },
});

// The address one came by: JupyterLab takes the hash away before an instrument is there to read it.
const arrivedBy = () => {
  const arrival = performance.getEntriesByType("navigation")[0]?.name ?? "";
  return location.hash || (arrival.includes("#") ? arrival.slice(arrival.indexOf("#")) : "");
};

const linkTo = (hash) => {
  const address = new URL(location.href);
  address.searchParams.delete("token"); // JupyterLab's key is nobody else's business
  address.hash = hash;
  return address.href;
};

// The button that copies a link; where the clipboard is refused, the link stands there to be copied by hand.
const copier = (hash) => {
  const note = element("span", { class: "dc-note", role: "status" });
  const copy = async () => {
    const link = linkTo(hash());
    try {
      await navigator.clipboard.writeText(link);
      note.textContent = "Copied: the address of this page in this state.";
    } catch {
      const field = element("input", { class: "dc-address", readonly: "", value: link, "data-lm-suppress-shortcuts": "true" });
      note.replaceChildren(element("label", {}, "Copy this address: ", field));
      field.select();
    }
  };
  // in a frame (Colab) the address is the frame's and leads nowhere
  const buttons = window === window.parent ? [button("Copy link to this state", copy)] : [];
  return { node: element("div", { class: "dc-share" }, ...buttons, note), say: (text) => say(note, text) };
};

// What every instrument has: the frame, experiments, reset, the spoken sentence, the link to its state, and the kernel's
// copy of it. `controls` maps a trait's name to {get, set, valid}; `draw` returns the sentence.
export const instrument = ({ model, el, controls, body, draw }) => {
  const name = model.get("kind"), entries = Object.entries(controls);
  const current = () => Object.fromEntries(entries.map(([trait, { get }]) => [trait, get()]));
  const kept = model.get("begun"); // another view of it has been here: Reset goes back to where that one began
  const first = kept ? JSON.parse(kept) : Object.fromEntries(entries.map(([trait]) => [trait, model.get(trait)]));
  const sentence = element("p", { class: "dc-summary", "aria-live": "polite" });
  const share = copier(() => stateLink(name, current()));
  const show = () => { // at once: browsers send one input event a frame
    try {
      say(sentence, draw());
    } catch (error) {
      console.error(error);
      sentence.textContent = apology(error, model.get("alt"));
    }
  };
  const redraw = () => { show(); share.say(""); };
  const store = () => { // the kernel hears of a value when the hand lets go: nothing queues up while a slider moves
    for (const [trait, value] of Object.entries(current())) model.set(trait, value);
    model.save_changes();
  };
  const put = (state) => { for (const [trait, value] of Object.entries(state)) controls[trait].set(value); };
  const apply = (state) => { put(state); redraw(); store(); };
  const follow = (hash) => {
    const read = readLink(hash, name, controls);
    if (!read) return;
    apply(read.values);
    share.say(linkInWords(read));
  };
  const buttons = Object.entries(JSON.parse(model.get("experiments"))).map(([label, state]) =>
    button(label, () => apply({ ...first, ...state })));
  buttons.push(button("Reset", () => apply(first)));
  el.classList.add("dynconv");
  el.append(element("div", { class: "dc-buttons" }, ...buttons), ...body, sentence, share.node);
  const heard = (trait) => () => {
    if (JSON.stringify(model.get(trait)) !== JSON.stringify(controls[trait].get())) { controls[trait].set(model.get(trait)); redraw(); }
  };
  const listeners = Object.keys(controls).map((trait) => [`change:${trait}`, heard(trait)]);
  listeners.forEach(([event, listener]) => model.on(event, listener));
  const moved = () => follow(location.hash); // a link pasted into the address of the open page
  window.addEventListener("hashchange", moved);
  show();
  if (!kept) {
    model.set("begun", JSON.stringify(first));
    model.save_changes();
    follow(arrivedBy());
  }
  const remove = () => {
    listeners.forEach(([event, listener]) => model.off(event, listener));
    window.removeEventListener("hashchange", moved);
  };
  return { redraw, store, remove };
};
