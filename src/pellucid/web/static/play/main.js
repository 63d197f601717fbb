// The playground's page: choices in the address, a network on the server, pictures as they come.
import {get, post, send} from "../api.js";
import {Chart} from "../charts.js";
import {el, figure, fill, still} from "../ui.js";
import {findings} from "./doctor.js";
import {data, settings} from "./forms.js";
import {Diagram} from "./network.js";
import {Plane} from "./plane.js";
import {Race} from "./race.js";
import {walkPanel} from "./walk.js";
import {named, PACES} from "./words.js";

const FRAME = 75; // ms between two pictures, at least
const DOCTOR = 2000; // ms between two looks of the doctor
const $ = (id) => document.getElementById(id);

const state = {
  about: null, seat: null, choices: null, scene: null, frame: null, table: null, preset: null, cured: false, playing: false,
  pace: 5, picked: null, example: {part: "train", row: 0}, walk: null, phase: -1, moved: null, fault: "", busy: Promise.resolve(),
  doctor: 0, begun: 0, linked: "",
};
window.playground = state; // for who looks from the console, and for tests

/** One request after the other: the server works for each learner on one thing at a time. */
function queue(work) {
  const next = state.busy.then(work);
  state.busy = next.catch(() => {});
  return next;
}

// -- beginning --------------------------------------------------------------------------------------------------------

const plane = new Plane($("plane"), (example) => { state.example = example; look(); });
const diagram = new Diagram($("network"), {
  pick: (layer, unit) => pick({layer, unit}),
  width: (layer, change) => choose({widths: state.choices.widths.map((n, l) => (l === layer ? n + change : n))}),
  bend: (layer, name) => choose({activations: state.choices.widths.map((_, l) => (l === layer ? name : state.choices.activations[state.choices.activations.length > 1 ? l : 0]))}),
});
const curves = new Chart($("curves"), [{label: "training loss", colour: "--c1"}, {label: "validation loss", colour: "--c2", dash: [6, 4]}], {height: 190, xLabel: "updates"});
let race = null;

/** given: {choices} or {fragment}. how: "push" (a new place in the browser's history), "replace", or "" (as it is). */
async function begin(given, how = "push") {
  pause();
  const mine = ++state.begun;
  document.body.classList.add("busy");
  old(["doctor", "walk"], true);
  try {
    const answer = await queue(() => (mine === state.begun ? post("begin", {seat: state.seat, ...given}) : null));
    if (!answer || mine !== state.begun) return true;
    Object.assign(state, {seat: answer.seat, choices: answer.choices, scene: answer.scene, frame: answer.frame, walk: null, moved: null, phase: -1, doctor: 0});
    address(answer.fragment, how);
    if (!exists(state.picked)) state.picked = null;
    if (!state.scene.points[state.example.part]?.row.includes(state.example.row)) state.example = {part: "train", row: state.scene.points.train.row[0]};
    build();
    say("");
    doctor();
    return true;
  } catch (error) {
    if (error.body?.gone) return seatLost(given, how);
    say(error.message);
    old(["doctor", "walk"], false);
    return false;
  } finally {
    if (mine === state.begun) document.body.classList.remove("busy");
  }
}

/** What is said there is about the network before: it is dimmed until something is said of this one. */
function old(names, is) {
  for (const name of names) $(name).setAttribute("aria-busy", String(is));
}

function seatLost(given, how) {
  Object.assign(state, {seat: null, table: null, busy: Promise.resolve()});
  return begin(given.choices?.data === "own" ? {choices: {...given.choices, data: "circles", target: "", columns: [], drawn: []}} : given, how);
}

function address(fragment, how) {
  const kept = {preset: state.preset?.name, cured: state.cured}, url = `#${fragment}`;
  if (how === "push" && location.hash !== (fragment ? url : "")) history.pushState(kept, "", url);
  else if (how) history.replaceState(kept, "", url);
}

const exists = (picked) => picked && state.scene.stages[picked.layer] && picked.unit < state.scene.stages[picked.layer].units;

/** Everything that stays until the next network. */
function build() {
  const {about, choices, scene} = state;
  state.linked = "";
  settings($("settings"), about, choices, scene, choose);
  data($("data"), about, choices, state.table, choose, upload);
  plane.begin(scene);
  diagram.begin(scene, choices, about.activations);
  tools();
  story();
  show();
  pick(state.picked, false);
}

function tools() {
  const n = state.choices.widths.length;
  const change = (widths) => choose({widths, activations: state.choices.activations.slice(0, 1), initials: state.choices.initials.slice(0, 1)});
  fill($("net-tools"),
    el("span", {class: "quiet"}, `${n} hidden ${n === 1 ? "layer" : "layers"}`),
    el("button", {disabled: n === 0, "aria-label": "One layer fewer", onclick: () => change(state.choices.widths.slice(0, -1))}, "−"),
    el("button", {disabled: n >= state.about.most.layers, "aria-label": "One layer more", onclick: () => change([...state.choices.widths, n ? state.choices.widths.at(-1) : 4])}, "+"),
    el("label", {}, "Lines ", el("select", {onchange: (e) => { diagram.mode = e.target.value; key(); diagram.show(state.frame); }},
      ["weights", "gradient"].map((m) => el("option", {value: m, selected: diagram.mode === m}, m)))));
  key();
}

function key() {
  fill($("net-key"), el("span", {}, diagram.mode === "weights" ? "Width: size of the weight; " : "Width: size of the weight's gradient; ", el("b", {class: "plus"}, "above 0"), " / ", el("b", {class: "minus"}, "below 0")),
    el("span", {}, "Pictures: each neuron's response over the plane"), el("span", {}, "Bars: gradient that flows back into each layer"));
}

// -- choosing ---------------------------------------------------------------------------------------------------------

/** Numbers move while it learns; everything else begins anew. */
async function choose(changes) {
  if (changes.data && changes.data !== state.choices.data) changes = {target: "", columns: [], drawn: [], ...changes};
  if (changes.data === "digits" || changes.data === "own") changes = {...changes, features: state.about.defaults.features};
  const choices = {...state.choices, ...changes};
  if (Object.keys(changes).every((name) => state.about.live.includes(name))) {
    try {
      const answer = await queue(() => post("change", {seat: state.seat, choices}));
      if (answer.live) {
        state.choices = answer.choices;
        address(answer.fragment, "replace");
        return;
      }
    } catch (error) {
      return failed(error);
    }
  }
  if (!(await begin({choices}))) build(); // the controls back to what is
}

async function upload(file) {
  pause();
  const linked = state.linked; // a link to choices for a table was opened, and waits for it
  if (file.size > state.about.most.bytes) return say(`The table is too large for the playground: at most ${state.about.most.bytes >> 20} MB.\nTrain on it with: pellucid train`);
  try {
    const query = new URLSearchParams({name: file.name, ...(state.seat ? {seat: state.seat} : {})});
    const table = await queue(() => send(`table?${query}`, file));
    Object.assign(state, {table, seat: table.seat, preset: null});
    if (linked && (await begin({fragment: linked}))) return;
    await begin({choices: {...state.choices, data: "own", target: table.target, columns: [], drawn: [], features: state.about.defaults.features}});
  } catch (error) {
    failed(error);
  }
}

function preset(name) {
  state.preset = state.about.presets.find((p) => p.name === name) || null;
  state.cured = false;
  if (!state.preset) return story();
  setPace(state.preset.pace);
  return begin({fragment: state.preset.choices});
}

function story() {
  const p = state.preset;
  $("story").hidden = !p;
  $("preset").value = p ? p.name : "";
  if (!p) return;
  fill($("story"), el("h2", {}, state.cured ? `${p.title}: the cure` : p.title), el("p", {}, state.cured ? p.lesson : p.look),
    el("div", {class: "row"},
      el("button", {class: state.cured ? "" : "main", onclick: async () => { state.cured = !state.cured; if (await begin({fragment: state.cured ? p.cure : p.choices})) play(); }},
        state.cured ? "Back to the problem" : "Cure it"),
      el("button", {onclick: () => { state.preset = null; story(); }}, "Close")));
}

// -- going on ---------------------------------------------------------------------------------------------------------

function setPace(pace) {
  state.pace = PACES.reduce((best, [n]) => (Math.abs(n - pace) < Math.abs(best - pace) ? n : best), 1);
  $("pace").value = String(state.pace);
}

async function play() {
  if (state.playing || !state.frame || state.frame.stopped) return;
  Object.assign(state, {playing: true, phase: -1, moved: null});
  button();
  diagram.label(null);
  while (state.playing) {
    const began = performance.now();
    try {
      const {frame} = await queue(() => post("tick", {seat: state.seat, updates: state.pace}));
      if (!state.playing) { state.frame = frame; break; }
      state.frame = frame;
      show(still());
      if (frame.stopped) state.playing = false;
    } catch (error) {
      state.playing = false;
      failed(error);
    }
    if (state.playing) {
      if (performance.now() - state.doctor > DOCTOR) doctor();
      await new Promise((f) => setTimeout(f, Math.max(0, FRAME - (performance.now() - began))));
      while (document.hidden && state.playing) await new Promise((f) => setTimeout(f, 300));
    }
  }
  button();
  show();
  doctor();
  look();
}

function pause() {
  state.playing = false;
  button();
}

async function step() {
  if (state.playing) return pause();
  if (state.frame?.stopped) return;
  try {
    const {frame} = await queue(() => post("tick", {seat: state.seat, updates: 1}));
    Object.assign(state, {frame, phase: -1, moved: null});
    show();
    doctor();
    look();
  } catch (error) {
    failed(error);
  }
}

async function doctor() {
  state.doctor = performance.now();
  const mine = state.begun;
  try {
    const {findings: found} = await queue(() => post("doctor", {seat: state.seat}));
    if (mine === state.begun) findings($("doctor"), found, state.frame.step, (choices) => begin({choices}).then((fine) => fine && play()));
    if (mine === state.begun) old(["doctor"], false);
  } catch (error) {
    failed(error);
  }
}

function button() {
  const stopped = !!state.frame?.stopped;
  fill($("play"), el("span", {"aria-hidden": "true"}, state.playing ? "❚❚" : "▶"), state.playing ? " Pause" : " Play");
  $("play").setAttribute("aria-pressed", String(state.playing));
  $("play").disabled = $("step").disabled = stopped;
}

// -- looking ----------------------------------------------------------------------------------------------------------

/** Draw what the frame says. onlyNumbers: for who wants no moving pictures, while it plays. */
function show(onlyNumbers = false) {
  const {frame, scene} = state, {scores} = frame, percent = (v) => (v === null ? "nan" : scene.metric === "accuracy" ? `${(100 * v).toFixed(1)} %` : figure(v, 3));
  fill($("counts"), [["updates", figure(frame.step)], ["epochs", figure(Math.floor(frame.epoch))],
    ["training loss", loss(scores.train.loss)], ["validation loss", loss(scores.validation.loss)], [named(scene.metric), percent(scores.validation.metric)]]
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  if (frame.stopped) say(frame.stopped === "diverged" ? "The loss is no longer a number: the training diverged. Begin anew (Reset) with a smaller step, or see what the doctor says." : "So many updates are enough: begin anew (Reset).");
  button();
  if (onlyNumbers) return;
  diagram.show(frame, (place) => plane.shade(place));
  const neuron = state.picked && state.picked.layer < state.choices.widths.length ? state.picked : null;
  plane.show(frame, neuron && diagram.picture(neuron.layer, neuron.unit), state.example);
  curves.set([frame.curves.step, frame.curves.train, frame.curves.validation]);
}

const loss = (v) => (v === null ? "nan" : v < 0.001 && v > 0 ? v.toExponential(1) : v >= 1000 ? v.toExponential(2) : v.toFixed(3));

function pick(picked, again = true) {
  if (again && picked && state.picked && picked.layer === state.picked.layer && picked.unit === state.picked.unit) picked = null;
  state.picked = picked;
  const hidden = picked && picked.layer < state.choices.widths.length;
  $("out-title").textContent = hidden ? `Neuron ${picked.unit + 1} of layer ${picked.layer + 1}` : "Output";
  $("back").hidden = !hidden;
  diagram.pick(picked);
  if (state.frame) show();
  look();
}

/** Walk the chosen example through the chosen neuron; while it plays there is no time for that. */
async function look() {
  if (state.playing || !state.frame) return;
  const {layer, unit} = state.picked || {layer: 0, unit: 0}, mine = state.begun;
  if (state.moved) return walked();
  try {
    const walk = await queue(() => post("walk", {seat: state.seat, ...state.example, layer, unit}));
    if (mine !== state.begun) return;
    const output = layer === state.scene.stages.length - 1, p = state.scene.points[state.example.part], value = p.value[p.row.indexOf(state.example.row)];
    const truth = state.scene.classes.length ? `truly class ${state.scene.classes[value]}` : `truly ${figure(value, 3)}, standardised`;
    Object.assign(state, {walk: {...walk, output, title: walk.loss.names[unit] ?? "", truth}, fault: ""});
  } catch (error) {
    if (error.body?.gone) return failed(error);
    Object.assign(state, {walk: null, fault: error.message});
  }
  walked();
}

/** The numbers, and beside the neurons those of the phase. */
function walked() {
  old(["walk"], false);
  walkPanel($("walk"), {...state, stopped: state.frame.stopped}, {next, example: another, all: () => { Object.assign(state, {phase: -1, moved: null}); look(); }});
  const w = state.walk;
  if (!w || state.phase < 0 || state.phase === 3) diagram.label(null);
  else if (state.phase < 2) diagram.label([state.scene.images ? [] : w.inputs.standardised, ...w.activations, w.layers.at(-1).z]);
  else diagram.label([[], ...w.layers.map((l) => l.delta)], "δ ");
  if (state.phase >= 0 && diagram.mode !== (state.phase >= 2 ? "gradient" : "weights")) {
    diagram.mode = state.phase >= 2 ? "gradient" : "weights";
    tools();
    diagram.show(state.frame);
  }
  plane.show(state.frame, plane.unit, state.example);
  diagram.pick(state.picked || (state.phase >= 0 ? {layer: 0, unit: 0} : null));
}

async function next() {
  pause();
  if (state.phase < 2) state.phase++;
  else if (state.phase === 2) {
    const {layer, unit} = state.picked || {layer: 0, unit: 0};
    try {
      const answer = await queue(() => post("move", {seat: state.seat, layer, unit}));
      Object.assign(state, {phase: 3, moved: answer.moved, frame: answer.frame});
      show();
      doctor();
    } catch (error) {
      return failed(error);
    }
  } else {
    Object.assign(state, {phase: 0, moved: null});
    await look();
  }
  walked();
  $("next-phase")?.focus({preventScroll: true});
}

function another(by) {
  const p = state.scene.points[state.example.part], at = p.row.indexOf(state.example.row);
  state.example = {...state.example, row: p.row[(at + by + p.row.length) % p.row.length]};
  state.moved = null;
  look();
}

// -- saying -----------------------------------------------------------------------------------------------------------

function say(text, kind = "warn") {
  fill($("said"), text ? el("div", {class: kind}, text) : null);
}

function failed(error) {
  pause();
  if (error.body?.gone) return seatLost({choices: state.choices}, "replace").then(() => say("This playground had been given up, for nobody used it for a while. It begins anew, with your choices."));
  say(error.message);
}

async function share() {
  const link = location.href.replace(/\/[^/#?]*\/(#|$)/, "/…/$1"), own = state.choices.data === "own";
  const warning = own ? " It holds your choices, not your data: whoever opens it has to bring the same CSV." : " It opens on anyone's Pellucid: they put what stands behind the # behind their own address.";
  try {
    await navigator.clipboard.writeText(location.href);
    say(`The address is copied.${warning}`, "fine");
  } catch {
    say(`Copy the address of this page: ${link}.${warning}`, "fine");
  }
}

function tab(name) {
  for (const one of ["walk", "race"]) {
    const chosen = one === name;
    $(`tab-${one}`).setAttribute("aria-selected", String(chosen));
    $(`tab-${one}`).tabIndex = chosen ? 0 : -1;
    $(one).hidden = !chosen;
  }
  if (name === "race") race.open(() => state.seat, failed);
}

// -- wiring -----------------------------------------------------------------------------------------------------------

document.querySelector(".skip").onclick = (e) => { e.preventDefault(); $("network-title").focus(); }; // the address holds choices alone
$("play").onclick = () => (state.playing ? pause() : play());
$("step").onclick = step;
$("reset").onclick = () => begin({choices: state.choices}, "replace");
$("share").onclick = share;
$("back").onclick = () => pick(null);
$("pace").onchange = (e) => (state.pace = Number(e.target.value));
$("preset").onchange = (e) => preset(e.target.value);
for (const name of ["walk", "race"]) {
  $(`tab-${name}`).onclick = () => tab(name);
  $(`tab-${name}`).onkeydown = (e) => {
    if (e.key !== "ArrowLeft" && e.key !== "ArrowRight") return;
    const other = name === "walk" ? "race" : "walk";
    tab(other);
    $(`tab-${other}`).focus();
  };
}
addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea, button, summary, [role=tab]")) return;
  const does = {" ": () => $("play").click(), s: step, r: () => $("reset").click(), Escape: () => pick(null)}[e.key];
  if (does) { e.preventDefault(); does(); }
});
addEventListener("popstate", (e) => {
  const kept = e.state || {};
  state.preset = state.about.presets.find((p) => p.name === kept.preset) || null;
  state.cured = !!kept.cured;
  begin({fragment: location.hash.slice(1)}, "");
});
addEventListener("pagehide", (e) => {
  if (!e.persisted && state.seat) navigator.sendBeacon("leave", JSON.stringify({seat: state.seat}));
});

state.about = await get("about");
fill($("pace"), PACES.map(([n, text]) => el("option", {value: String(n)}, text)));
setPace(state.pace);
fill($("preset"), el("option", {value: ""}, "a problem …"), state.about.presets.map((p) => el("option", {value: p.name}, p.title)));
race = new Race($("race"), state.about);
const kept = history.state || {};
state.preset = state.about.presets.find((p) => p.name === kept.preset) || null;
state.cured = !!kept.cured;
if (!(await begin({fragment: location.hash.slice(1)}, "replace"))) {
  const said = $("said").textContent;
  if (await begin({choices: {}}, "")) say(said);
  if (new URLSearchParams(location.hash.slice(1)).get("data") === "own") state.linked = location.hash.slice(1);
}
document.body.dataset.ready = "yes";
