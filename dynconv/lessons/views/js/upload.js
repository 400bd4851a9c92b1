// Upload: a picture of the reader's, sent to the kernel.

import { element, OWN_KEYS } from "./elements.js";

const base64 = async (file) => {
  const reader = new FileReader();
  await new Promise((done, failed) => {
    Object.assign(reader, { onload: done, onerror: () => failed(reader.error) }).readAsDataURL(file);
  });
  return reader.result.slice(reader.result.indexOf(",") + 1);
};

const megabytes = (bytes) => bytes / 1e6;

const tooLarge = ({ name, size }, most) =>
  `Not added: ${name} has ${megabytes(size).toFixed(1)} MB, at most ${megabytes(most)} MB are taken.`;

const waiting = (uploads) =>
  uploads
    ? "Needs a running Python kernel: none has answered."
    : "Not for this layer: Python was not told how to prepare a picture for it.";

// Reads the file that is picked and hands it to `send`; `tell` hears in words how that goes.
const reading = (most, tell, send) => {
  let newest = 0;
  return async (file) => {
    const mine = ++newest;
    if (!file) return;
    if (file.size > most) {
      tell(tooLarge(file, most));
      return;
    }
    tell(`The kernel looks at ${file.name} …`);
    try {
      const content = await base64(file);
      if (mine === newest) send({ name: file.name, content }); // another file was picked meanwhile: that one counts
    } catch (error) {
      tell(`Not added: ${file.name} cannot be read (${error.message}).`);
    }
  };
};

// A file of the reader's for the kernel to decode. It stays switched off until a kernel has answered.
export const uploader = (model, { uploads, most_bytes: most, image_shape: [h, w] }) => {
  const status = element("span", { class: "dc-status", role: "status" }, waiting(uploads));
  const input = element("input", { type: "file", accept: "image/*", disabled: "", ...OWN_KEYS });
  const tell = (text) => {
    status.textContent = text;
  };
  const send = (content) => {
    model.set("upload", JSON.stringify(content));
    model.save_changes();
  };
  const take = reading(most, tell, send);
  input.addEventListener("change", async (event) => {
    event.stopPropagation(); // what was picked is no state
    const [file] = input.files;
    await take(file);
    input.value = ""; // the same file can be picked again
  });
  const heard = () => {
    const { text } = JSON.parse(model.get("answer"));
    if (input.disabled) tell(`At most ${megabytes(most)} MB; shown is its middle at ${h} × ${w} pixels.`);
    if (text) tell(text);
    input.disabled = false;
  };
  model.on("change:answer", heard);
  if (uploads) send({}); // is anybody there?
  const node = element("div", { class: "dc-upload" }, element("label", {}, "your own image ", input), status);
  return { node, remove: () => model.off("change:answer", heard) };
};
