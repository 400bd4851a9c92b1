// Progress: how many bets were made and exercises solved, lesson by lesson; and a way to forget it all.

import { held } from "./controls.js";
import { button, element, emit, say } from "./elements.js";
import { instrument } from "./instrument.js";
import { forgetAll, remembered } from "./kept.js";

const HEADS = ["lesson", "bets made", "of these right", "exercises solved"];
const sumOf = (rows, name) => rows.reduce((sum, row) => sum + row[name], 0);

// pure: a row a lesson, from what the notebook's file and this browser remember; {bets: {name: {right}}} each
export const progressRows = ({ lessons, bets, solved }, browser) => {
  const made = { ...browser.bets, ...bets };
  return lessons.map((lesson) => {
    const own = lesson.bets.filter((name) => made[name]);
    return {
      number: lesson.number,
      bets: lesson.bets.length,
      made: own.length,
      right: own.filter((name) => made[name].right).length,
      exercises: lesson.exercises.length,
      solved: lesson.exercises.filter((name) => solved.includes(name)).length,
    };
  });
};

const line = (cell, texts) => element("tr", {}, ...texts.map((text) => element(cell, {}, text)));

const tableOf = (rows) => {
  const lines = rows.map((row) =>
    line("td", [
      row.number,
      `${row.made} of ${row.bets}`,
      `${row.right}`,
      row.exercises ? `${row.solved} of ${row.exercises}` : "–",
    ]),
  );
  return [element("thead", {}, line("th", HEADS)), element("tbody", {}, ...lines)];
};

// Pressed twice: once is an accident.
const forgetting = (forgotten) => {
  const control = button("Forget it all", () => {
    if (control.textContent === "Forget it all") {
      say(control, "Really? Press again");
      return;
    }
    forgetAll();
    forgotten.set(forgotten.get() + 1);
    say(control, "Forget it all");
    emit(control, "input");
    emit(control, "change");
  });
  control.addEventListener("blur", () => say(control, "Forget it all"));
  return control;
};

const view = (_, { forgotten }) => {
  const table = element("table", { class: "dc-progress" });
  const draw = ({ rows }) => table.replaceChildren(...tableOf(rows));
  return { body: [table, forgetting(forgotten)], draw };
};

const words = ({ trouble }, { rows }) => {
  const of = (some, all) => `${sumOf(rows, some)} of ${sumOf(rows, all)}`;
  const said = `You made ${of("made", "bets")} bets, ${sumOf(rows, "right")} of them right, and solved ${of("solved", "exercises")} exercises.`;
  return [said, trouble].filter(Boolean).join(" ");
};

export default instrument({
  className: "dc-progress-card",
  bare: true,
  controls: () => ({ forgotten: held(Number.isInteger) }),
  state: (data, { forgotten }) => {
    const kept = forgotten > data.forgotten ? { ...data, bets: {}, solved: [] } : data; // until the kernel has answered
    return { rows: progressRows(kept, remembered()) };
  },
  view,
  words,
});
