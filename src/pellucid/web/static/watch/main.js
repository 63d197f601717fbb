// The live page: a list of runs, and those that were chosen, drawn as often as something new comes and no oftener.
import {get, listen} from "../api.js";
import {el, fill} from "../ui.js";
import {Curves} from "./curves.js";
import {Findings, Head} from "./head.js";
import {Inside} from "./inside.js";
import {List} from "./list.js";
import {Run} from "./model.js";
import {Travel} from "./travel.js";

const BETWEEN = 200; // milliseconds between two drawings at least
const MOST = 8; // runs side by side
const GOING = ["running", "starting", "paused", "scoring"];

const main = document.getElementById("main"), lost = document.getElementById("lost"), spoken = document.getElementById("said");
const runs = new Map(); // name -> Run
let shown = [], focus = null, stream = null, views = null, drawn = 0, waiting = null;

const say = (text) => { spoken.textContent = text; };
const list = new List(document.getElementById("runs"), (names) => choose(names));

function named() {
  return new URLSearchParams(location.hash.slice(1)).getAll("run");
}

function choose(names, write = true) {
  shown = [...new Set(names)].slice(-MOST);
  if (write) {
    const query = new URLSearchParams(shown.map((name) => ["run", name])).toString();
    history.replaceState(null, "", `#${query}`);
  }
  for (const name of shown)
    if (!runs.has(name)) {
      const run = new Run(name, changed);
      runs.set(name, run);
      run.fetch();
    }
  for (const name of runs.keys()) if (!shown.includes(name)) runs.delete(name);
  if (!shown.includes(focus)) focus = shown[0] ?? null;
  list.show(shown);
  stream?.want({run: shown});
  build();
  draw();
}

/** The panels; which there are depends on how many runs are chosen. */
function build() {
  if (!shown.length) {
    views = null;
    fill(main, el("div", {class: "empty"}, el("h1", {}, "No run is chosen"),
      el("p", {}, list.lines.size ? "Choose one from the list, or tick several to lay them over each other."
        : "There is none yet. This page shows one as soon as it begins: pellucid train digits")));
    return;
  }
  if (!views) {
    const panel = (label) => el("section", {class: "panel", "aria-label": label});
    const places = {head: panel("the run"), findings: panel("findings"), curves: panel("curves"), inside: panel("inside the network"), travel: panel("time travel")};
    const pick = el("select", {id: "focus", onchange: () => { focus = pick.value; draw(); }});
    const chooser = el("div", {class: "row"}, el("label", {for: "focus"}, "Look closer at"), pick);
    views = {places, pick, chooser, head: new Head(places.head, say), findings: new Findings(places.findings, say),
      curves: new Curves(places.curves), inside: new Inside(places.inside), travel: new Travel(places.travel)};
    fill(main, places.head, places.findings, places.curves, places.inside, places.travel);
  }
  if (shown.length > 1) {
    fill(views.pick, shown.map((name) => el("option", {value: name, selected: name === focus}, name)));
    main.prepend(views.places.curves, views.chooser);
  } else {
    views.chooser.remove();
    main.append(views.places.head, views.places.findings, views.places.curves, views.places.inside, views.places.travel);
  }
}

function changed() {
  if (document.hidden) return; // what nobody sees is not drawn
  if (waiting) return;
  waiting = setTimeout(() => requestAnimationFrame(draw), Math.max(0, BETWEEN - (performance.now() - drawn)));
}

function draw() {
  clearTimeout(waiting);
  waiting = null;
  if (!views || !shown.length) return;
  const began = performance.now();
  const run = runs.get(focus);
  views.head.draw(run);
  document.title = `${run.name}: ${run.status}`;
  if (run.error && !run.whole) views.head.hint.textContent = run.error;
  for (const name of ["findings", "curves", "inside", "travel"]) views.places[name].hidden = !run.whole;
  if (run.whole) {
    views.findings.draw(run);
    views.curves.draw(shown.map((name) => runs.get(name)));
    views.inside.draw(run);
    views.travel.draw(run);
  }
  // curves are put on the screen when this task is over
  queueMicrotask(() => queueMicrotask(() => {
    drawn = performance.now();
    performance.clearMeasures("draw");
    performance.measure("draw", {start: began, end: drawn});
  }));
}

document.addEventListener("visibilitychange", changed);
addEventListener("hashchange", () => choose(named(), false));

function connection(state) {
  lost.hidden = state === "there";
  lost.textContent = state === "there" ? ""
    : "The connection is lost; trying again. If the server has ended, pellucid watch opens the page anew.";
}

/** Which run to show first: the one that was asked for, else the newest that goes, else the newest. */
function first({chosen, runs: lines}) {
  if (named().length) return named();
  if (chosen) return [chosen];
  const going = lines.find((line) => GOING.includes(line.status));
  const one = going || lines[0];
  return one ? [one.name] : [];
}

/** The run to turn to by itself: one that begins while nobody has chosen, and nothing that goes on is shown. */
function next({changed}, known) {
  if (named().length || runs.get(focus)?.going) return null;
  const begun = changed.find((line) => GOING.includes(line.status) && !GOING.includes(known.get(line.name)?.status));
  return begun?.name ?? (shown.length ? null : list.names[0]);
}

async function begin() {
  const answer = await get("runs");
  list.set(answer.folder, answer.runs);
  choose(first(answer), false);
  stream = listen("events", {
    hello: ({runs: known}) => {
      for (const [name, seq] of Object.entries(known)) if (runs.has(name) && runs.get(name).seq !== seq) runs.get(name).fetch();
      get("runs").then((all) => list.set(all.folder, all.runs), () => {});
    },
    more: (sent) => runs.get(sent.run)?.more(sent),
    again: () => runs.forEach((run) => run.fetch()),
    runs: (sent) => {
      const known = new Map(list.lines);
      list.update(sent);
      const name = next(sent, known);
      if (name) choose([name], false);
    },
  }, connection, {run: shown});
}

begin().catch((error) => fill(main, el("p", {class: "warn"}, error.message)));
