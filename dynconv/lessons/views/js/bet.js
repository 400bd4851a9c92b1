// A bet: a question, its options in an order that a seed has drawn, and the answer once somebody has bet.

import { held, radios } from "./controls.js";
import { button, dress, element, emit, say } from "./elements.js";
import { instrument } from "./instrument.js";
import { remember, remembered } from "./kept.js";

const TAGS = { "`": "code", "*": "em" };

// pure: a text's pieces, each [piece, tag]; no tag where nothing is marked
export const pieces = (text) =>
  text
    .split(/(`[^`]+`|\*[^*]+\*)/)
    .filter(Boolean)
    .map((piece) => {
      const tag = piece.length > 2 && piece.at(-1) === piece[0] ? TAGS[piece[0]] : undefined;
      return tag ? [piece.slice(1, -1), tag] : [piece, ""];
    });

const marked = (text) => pieces(text).map(([piece, tag]) => (tag ? element(tag, {}, piece) : piece));
const plain = (text) =>
  pieces(text)
    .map(([piece]) => piece)
    .join("");

// pure: what is said, from what Python sent and the option that was bet on
export const betWords = ({ options, answers, right, earlier, trouble }, { bet }) => {
  const said = [];
  if (earlier)
    said.push(
      earlier.option ? `${earlier.where} you bet: ${earlier.option}. And now?` : `${earlier.where} you made no bet.`,
    );
  if (!options.includes(bet)) return [...said, "Choose one, then press Bet: the answer opens after it.", trouble];
  if (!right) return ["You bet:", `${bet}.`, answers[bet], trouble];
  if (earlier?.option) said[0] = `${earlier.where} you bet: ${earlier.option}.`;
  const reason = bet === right ? ["Right:", answers[bet]] : [answers[bet], `Right is: ${right}.`, answers[right]];
  return [...said, `You bet: ${bet}.`, ...reason, trouble];
};

// Base64 of UTF-8: nobody reads the answers by leafing through the page's or the notebook's source.
const opened = (text) =>
  JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(text), (char) => char.charCodeAt(0))));

const recalled = (name, options) => {
  const option = remembered().bets[name]?.option;
  return options.includes(option) ? option : "";
};

const read = (data, notes) => {
  const { earlier } = data;
  const guess = earlier && { ...earlier, option: notes.earlier || recalled(earlier.name, earlier.options) };
  return { ...data, ...opened(data.answers), earlier: guess, trouble: notes.trouble };
};

const controls = ({ options }) => ({ bet: held((v) => v === "" || options.includes(v)) });

const state = ({ options, right }, { bet }) => ({
  made: options.includes(bet),
  marks: options.map((option) => {
    if (!options.includes(bet) || !right) return "";
    if (option === right) return "right";
    return option === bet ? "wrong" : "";
  }),
});

// An option with its radio button, and a sign for what it turned out to be.
const row = (option) => {
  const text = element("span", {}, ...marked(option));
  const sign = element("span", { class: "dc-sign" });
  return { sign, node: (input) => element("label", {}, input, text, sign) };
};

const view = ({ asks, options }, { bet }) => {
  const choice = radios(options);
  const rows = options.map(row);
  const lines = rows.map((one, i) => one.node(choice.inputs[i]));
  const press = ({ target }) => {
    const chosen = bet.get() ? "" : choice.get();
    if (chosen === undefined) {
      choice.inputs[0].focus(); // nothing is chosen yet: there it is done
      return;
    }
    bet.set(chosen);
    emit(target, "input");
    emit(target, "change");
  };
  const commit = button("Bet", press);
  const question = element("legend", {}, element("b", {}, "Predict. "), ...marked(asks));
  const draw = ({ made, marks }, { bet: option }) => {
    const wasMade = choice.inputs[0].disabled;
    choice.inputs.forEach((input, i) => {
      input.disabled = made;
      if (made || wasMade) input.checked = options[i] === option;
      dress(lines[i], marks[i] && `dc-${marks[i]}`);
      say(rows[i].sign, { right: " ✔ right", wrong: " ✘ your bet" }[marks[i]] ?? "");
    });
    say(commit, made ? "Bet again" : "Bet");
  };
  return { body: [element("fieldset", {}, question, ...lines, commit)], draw };
};

const words = (data, _, values) => betWords(data, values).filter(Boolean).map(plain).join(" ");

const { initialize, render } = instrument({
  className: "dc-bet-card",
  bare: true,
  reads: ["data", "notes"],
  read,
  controls,
  state,
  view,
  words,
});

// What this browser remembers comes first; from then on it remembers what changes, and whoever stands in the page may listen.
const keep = (model) => {
  const { name, options, answers } = JSON.parse(model.get("data"));
  const { right } = opened(answers);
  const tell = () => dispatchEvent(new CustomEvent("dynconv-bet", { detail: { name, made: model.get("bet") !== "" } }));
  const changed = () => {
    const option = model.get("bet");
    remember("bets", name, option === "" ? undefined : { option, right: right ? option === right : null });
    tell();
  };
  model.on("change:bet", changed);
  if (model.get("bet") === "" && recalled(name, options)) {
    model.set("bet", recalled(name, options));
    model.save_changes();
  } else changed();
  return () => model.off("change:bet", changed);
};

export default {
  initialize,
  render: ({ model, el }) => {
    const ends = [render({ model, el }), keep(model)];
    return () => ends.forEach((end) => end?.());
  },
};
