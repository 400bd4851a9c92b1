// Sharing: the address of this page in this state, given out and come by.

import { button, element, OWN_KEYS, say } from "./elements.js";
import { readLink, stateLink } from "./links.js";

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

// where the clipboard is refused, the link stands there to be copied by hand
const offer = (note, link) => {
  const field = element("input", { class: "dc-address", readonly: "", value: link, ...OWN_KEYS });
  note.replaceChildren(element("label", {}, "Copy this address: ", field));
  field.select();
};

// The button that copies a link to the state that `state` gives, and a line for what is to be said.
export const copier = (name, state) => {
  const note = element("span", { class: "dc-note", role: "status" });
  const copy = async () => {
    const link = linkTo(stateLink(name, state()));
    try {
      await navigator.clipboard.writeText(link);
      note.textContent = "Copied: the address of this page in this state.";
    } catch {
      offer(note, link);
    }
  };
  // in a frame (Colab) the address is the frame's and leads nowhere
  const buttons = window === window.parent ? [button("Copy link to this state", copy)] : [];
  return { node: element("div", { class: "dc-link" }, ...buttons, note), say: (text) => say(note, text) };
};

// `take` gets what the address holds for the instrument `name`: that of the arrival, where `arrives`, and any that is pasted
// into the open page later. Returns what ends it.
export const followLinks = (name, controls, arrives, take) => {
  const follow = (hash) => {
    const read = readLink(hash, name, controls);
    if (read) take(read);
  };
  const moved = () => follow(location.hash);
  window.addEventListener("hashchange", moved);
  if (arrives) follow(arrivedBy());
  return () => window.removeEventListener("hashchange", moved);
};
