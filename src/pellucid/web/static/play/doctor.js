// What is wrong, why, and what would help, each remedy with a button where it is a choice.
import {el, fill} from "../ui.js";

/** take(choices, text): a remedy was chosen. */
export function findings(place, found, step, take) {
  const key = JSON.stringify([found, step < 30]);
  if (place.dataset.key === key && place.childNodes.length) return; // nobody's open details are closed for nothing
  place.dataset.key = key;
  const alarms = found.filter((f) => f.severity !== "note"), notes = found.filter((f) => f.severity === "note");
  fill(place,
    alarms.length ? alarms.map((f) => one(f, take))
      : el("p", {class: step < 30 ? "quiet" : "well"}, step < 30 ? "Press play: after some updates there is more to say." : "Nothing is wrong, as far as one can see."),
    notes.length ? el("details", {}, el("summary", {class: "quiet"}, `${notes.length} ${notes.length > 1 ? "notes" : "note"}`), notes.map((f) => one(f, take))) : null);
}

function one(finding, take) {
  return el("article", {class: `finding ${finding.severity}`},
    el("h3", {}, finding.title.charAt(0).toUpperCase() + finding.title.slice(1)),
    el("p", {}, finding.summary),
    el("div", {class: "row"}, finding.remedies.filter((r) => r.choices).map((r) => el("button", {onclick: () => take(r.choices, r.text)}, `Try: ${r.text}`))),
    el("details", {}, el("summary", {}, "Why, and what helps"), el("p", {}, finding.why),
      el("p", {}, `It could be: ${finding.remedies.map((r) => r.text).join("; ")}.`),
      finding.source ? el("p", {class: "quiet"}, finding.source) : null));
}
