// One update, step by step, for one example and one neuron: forward, loss, backward, update, with every number.
import {el, fill, table} from "../ui.js";
import {named, num} from "./words.js";

const MOST = 8; // terms of a sum that are written out
export const PHASES = ["Forward", "Loss", "Backward", "Update"];

const lines = (...parts) => el("div", {class: "sum"}, parts.flat(Infinity).filter(Boolean).map((p) => (p instanceof Node ? p : el("div", {}, p))));
const is = (text) => el("div", {class: "is"}, text);

/** w·x + w·x + ..., the largest terms in their order, the rest added up. */
function sum(terms, left, right) {
  const large = [...terms].sort((a, b) => Math.abs(b.product) - Math.abs(a.product)).slice(0, MOST);
  const shown = terms.filter((t) => large.includes(t)), rest = terms.filter((t) => !large.includes(t));
  const parts = shown.map((t) => `${num(t[left])}·${num(t[right], true)}`);
  if (rest.length) parts.push(`${num(rest.reduce((s, t) => s + t.product, 0), true)} (${rest.length} more)`);
  return parts.join(" + ");
}

/** ways: {walk, phase (-1: all, 0..3), moved, names}; on: {next, example, all}. */
export function walkPanel(place, {walk, phase, moved, fault, stopped}, on) {
  if (!walk) return fill(place, el("p", {class: "quiet"}, fault || "Choose a neuron in the network, and a point in the output."));
  const what = walk.output ? `output “${walk.title}”` : `neuron ${walk.unit + 1} of layer ${walk.layer + 1}`;
  const steps = [forward(walk), loss(walk), backward(walk), update(walk, moved)];
  const label = phase < 0 ? "Step through: forward" : phase < 3 ? `Next: ${PHASES[phase + 1].toLowerCase()}${phase === 2 ? " (one update is made)" : ""}` : "Once more";
  fill(place,
    el("div", {class: "row between"},
      el("p", {}, el("b", {}, what), ` for ${walk.part === "train" ? "training" : "validation"} example ${walk.row + 1}`,
        walk.truth ? el("span", {class: "quiet"}, ` (${walk.truth})`) : null),
      el("div", {class: "row"}, el("button", {onclick: () => on.example(-1), "aria-label": "The example before"}, "‹ example"),
        el("button", {onclick: () => on.example(1), "aria-label": "The next example"}, "example ›"),
        phase >= 0 ? el("button", {onclick: on.all}, "Show all") : null,
        el("button", {class: "main", id: "next-phase", disabled: !!stopped && phase === 2, onclick: on.next}, label))),
    el("div", {class: "phases"}, steps.map((content, i) => el("section", {class: `phase${phase === i ? " now" : ""}${phase >= 0 && i > phase ? " later" : ""}`, "aria-current": phase === i ? "step" : null},
      el("h3", {}, el("b", {}, String(i + 1)), PHASES[i]), content))),
    el("p", {class: "quiet"}, walk.check.agrees ? "Checked: these gradients agree with jax.grad in 64-bit arithmetic, to the last digits. The same walk in a terminal: pellucid explain."
      : `These gradients differ from jax.grad by ${num(walk.check.difference)}.`));
}

function forward(walk) {
  const f = walk.forward, name = walk.output ? "o" : "z";
  return [el("p", {}, "A weighted sum of what arrives, plus the bias" + (walk.output ? "." : "; then the activation.")),
    lines(`${name} = Σ w·x + b`, `= ${sum(f.terms, "w", "x")} + ${num(f.bias, true)}`, is(`${name} = ${num(f.z)}`),
      f.then.map((t) => [t.formula ? `${named(t.kind)}: a = ${t.formula}` : `${named(t.kind)}:`, is(`${t.formula ? "a" : "→"} = ${num(t.y)}`)]))];
}

function loss(walk) {
  const l = walk.loss, several = l.outputs.length > 1;
  const list = (values) => values.slice(0, 10).map((v) => num(v)).join(", ");
  return [el("p", {}, `How wrong the answer is: ${named(l.name)}.`),
    lines(`o = ${list(l.outputs)}`, l.link ? [l.link, `p = ${list(l.linked)}`] : null, `y = ${list(l.target)}${several ? ` (${l.names.slice(0, 10).join(", ")})` : ""}`,
      l.formula, is(`L = ${num(l.value)}`))];
}

function backward(walk) {
  const b = walk.backward, l = walk.loss;
  if (b.da === null)
    return [el("p", {}, "How the loss changes with this output: here the chain begins."),
      lines(l.slope, is(`δ = dL/do = ${num(b.delta)}`), "each weight: dL/dw = δ · x", walk.forward.terms.slice(0, 4).map((t, i) => `dL/dw(${named(t.name)}) = ${num(b.delta)}·${num(t.x, true)} = ${num(walk.update.weights[i].g)}`))];
  return [el("p", {}, "The chain rule: what comes back from the next layer, times the slope of the activation."),
    lines("dL/da = Σ w·δ of the next layer", `= ${sum(b.terms, "w", "delta")}`, is(`dL/da = ${num(b.da)}`),
      b.through.map((t) => (t.slope === null ? `through the ${named(t.kind)}: ${num(t.dx)}` : `f′(z) = ${t.formula} = ${num(t.slope)}`)),
      is(`δ = dL/dz = ${b.through.length === 1 && b.through[0].slope !== null ? `${num(b.da)}·${num(b.through[0].slope, true)} = ` : ""}${num(b.delta)}`),
      walk.forward.terms.slice(0, 3).map((t, i) => `dL/dw(${named(t.name)}) = δ·x = ${num(b.delta)}·${num(t.x, true)} = ${num(walk.update.weights[i].g)}`))];
}

function update(walk, moved) {
  const u = walk.update, rows = (all) => all.slice(0, MOST + 1).map((w) => [named(w.name), num(w.w), num(w.g), num(w.new)]);
  if (moved)
    return [el("p", {}, `${named(moved.optimizer)} has made the update: from the mean gradient of a batch of ${moved.batch}, not of this example alone.`),
      el("div", {class: "sum moved"}, table(["", "w before", "gradient", "w after"], rows(moved.weights), "What the update did")),
      moved.optimizer === "sgd" || moved.optimizer === "gradient_descent" ? lines(`w ← w − ${num(moved.rate)} · gradient`) : null];
  return [el("p", {}, "A step downhill; here gradient descent on this example alone."),
    lines(`w ← w − ${num(u.rate)} · dL/dw`), el("div", {class: "sum"}, table(["", "w", "dL/dw", "new w"], rows(u.weights), "The update")),
    lines(`its loss: ${num(walk.loss.value)} → ${num(u.after)}`)];
}
