// What can be chosen, as controls. Each change calls choose({name: value}); sliders that act while they move say so.
import {el, fill} from "../ui.js";
import {sample} from "./plane.js";
import {BATCHES, named, num, RATES} from "./words.js";

let ids = 0;
const field = (name, control, title) => {
  control.id = `field-${++ids}`;
  return el("div", {class: "field", title}, el("label", {for: control.id}, name), control);
};

const select = (name, values, now, choose, title, text = named) => field(name, el("select", {onchange: (e) => choose(values[e.target.selectedIndex])},
  values.map((v) => el("option", {selected: v === now}, text(v)))), title);

/** One of few numbers; a number of one's own is added to them. */
function numbers(name, values, now, choose, title, text) {
  const all = values.includes(now) ? values : [...values, now].sort((a, b) => a - b);
  return select(name, all, now, choose, title, text);
}

/** The row above: how it learns. */
export function settings(place, about, choices, scene, choose) {
  const regression = scene.classes.length === 0;
  const losses = about.losses.filter((l) => (regression ? !l.includes("cross_entropy") : !["mean_absolute_error", "huber"].includes(l)));
  fill(place,
    numbers("Step size", RATES, choices.learning_rate, (v) => choose({learning_rate: v}), "The learning rate: how far an update goes. It can be changed while the network learns.", (v) => num(v)),
    select("Optimizer", about.optimizers, choices.optimizer, (v) => choose({optimizer: v}), "How a gradient becomes an update"),
    numbers("Batch", BATCHES, choices.batch, (v) => choose({batch: v}), "How many examples an update learns from", (v) => (v ? String(v) : `all ${scene.rows.train}`)),
    select("Loss", losses, choices.loss, (v) => choose({loss: v}), "What is to become small", (v) => (v === "suited" ? `${named(scene.loss)} (suits)` : named(v))),
    select("Initial weights", about.initials, choices.initials[0], (v) => choose({initials: [v]}), "Where the weights begin"),
    numbers("L2", [0, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1], choices.l2, (v) => choose({l2: v}), "Pulls weights towards 0. It can be changed while the network learns.", (v) => (v ? num(v) : "off")),
    numbers("L1", [0, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1], choices.l1, (v) => choose({l1: v}), "Makes weights that are of no use 0. It can be changed while the network learns.", (v) => (v ? num(v) : "off")),
    numbers("Dropout", [0, 0.1, 0.2, 0.3, 0.5, 0.8], choices.dropout, (v) => choose({dropout: v}), "The share of hidden outputs that is left out in an update", (v) => (v ? `${Math.round(v * 100)} %` : "off")),
    select("Normalisation", about.norms, choices.norm, (v) => choose({norm: v}), "Brings what arrives at each activation to one size"),
    field("Seed", el("input", {type: "number", min: 0, max: 2147483647, step: 1, value: String(choices.seed),
      onchange: (e) => e.target.validity.valid && choose({seed: Math.round(Number(e.target.value))})}), "Other initial weights and other points; the same seed gives the same numbers"));
}

function range(name, low, high, step, now, show, choose) {
  const out = el("output", {}, show(now)), id = `field-${++ids}`;
  const input = el("input", {type: "range", id, min: String(low), max: String(high), step: String(step), value: String(now),
    oninput: (e) => (out.textContent = show(Number(e.target.value))), onchange: (e) => choose(Number(e.target.value))});
  return el("div", {class: "range"}, el("div", {class: "row"}, el("label", {for: id}, name), out), input);
}

const percent = (v) => `${Math.round(v * 100)} %`;

/** The left column: what it learns from. upload(file); table: the own one's columns, where there is one. */
export function data(place, about, choices, table, choose, upload) {
  const own = choices.data === "own", digits = choices.data === "digits", made = !own && !digits;
  const button = (set) => {
    const picture = el("canvas", {width: 92, height: 92, "aria-hidden": "true"});
    if (set.points) sample(picture, set.points, set.classes);
    return el("button", {"aria-pressed": String(choices.data === set.name), title: set.about, onclick: () => choose({data: set.name})},
      set.points ? picture : null, named(set.name));
  };
  const file = el("input", {type: "file", accept: ".csv,.tsv,.txt,text/csv", class: "visually-hidden", "aria-label": "Your own CSV",
    onchange: (e) => e.target.files[0] && upload(e.target.files[0])});
  const drop = el("label", {class: "upload",
    ondragover: (e) => { e.preventDefault(); drop.classList.add("over"); }, ondragleave: () => drop.classList.remove("over"),
    ondrop: (e) => { e.preventDefault(); drop.classList.remove("over"); if (e.dataTransfer.files[0]) upload(e.dataTransfer.files[0]); }},
  file, table ? `${table.name}: another CSV …` : "Your own CSV …");
  fill(place, el("h2", {}, "Data"),
    el("div", {class: "sets", role: "group", "aria-label": "Data sets"}, about.sets.map(button),
      button({name: "digits", about: "Handwritten digits, 8 × 8 grey values, ten classes"})),
    drop, own && table ? columns(table, choices, choose) : null,
    made ? features(about, choices, choose) : null,
    made ? range("Noise", 0, 0.5, 0.05, choices.noise, percent, (v) => choose({noise: v})) : null,
    range("Label noise", 0, 0.5, 0.05, choices.label_noise, percent, (v) => choose({label_noise: v})),
    own ? null : range("Points", 50, 1000, 50, choices.points, String, (v) => choose({points: v})),
    range("For validation", 0.1, 0.9, 0.1, choices.validation, percent, (v) => choose({validation: v})));
}

function features(about, choices, choose) {
  const flip = (name) => {
    const now = about.features.filter((f) => (f === name) !== choices.features.includes(f));
    if (now.length) choose({features: now});
  };
  return [el("label", {id: "features-label"}, "Features: what the network is told of a point"), el("div", {class: "chips", role: "group", "aria-labelledby": "features-label"},
    about.features.map((f) => el("button", {"aria-pressed": String(choices.features.includes(f)), onclick: () => flip(f)}, named(f))))];
}

/** Of an own table: what is learned, from what, and which two columns span the picture. */
function columns(table, choices, choose) {
  const target = choices.target || table.target, others = table.columns.filter((c) => c !== target);
  const used = choices.columns.length ? choices.columns : others.slice(0, 10), numeric = used.filter((c) => table.numeric.includes(c));
  const drawn = [...new Set([...choices.drawn.filter((c) => numeric.includes(c)), ...numeric])].slice(0, 2), plain = (c) => c;
  const flip = (name) => {
    const now = others.filter((c) => (c === name) !== used.includes(c));
    if (now.length && now.length <= 10) choose({columns: now, drawn: drawn.filter((c) => now.includes(c))});
  };
  const draw = (place, name) => choose({drawn: place ? [drawn[0], name] : [name, drawn[1] === name ? drawn[0] : drawn[1]].filter(Boolean)});
  return [
    select("What is to be learned", table.columns, target, (v) => choose({target: v, columns: [], drawn: []}), "", plain),
    el("label", {}, "From (at most ten)"), el("div", {class: "chips"}, others.slice(0, 40).map((c) => el("button", {"aria-pressed": String(used.includes(c)), onclick: () => flip(c)}, c))),
    numeric.length ? [select("Drawn from left to right", numeric, drawn[0], (v) => draw(0, v), "", plain),
      select("Drawn from below to above", numeric, drawn[1] ?? drawn[0], (v) => draw(1, v), "", plain)] : null];
}
