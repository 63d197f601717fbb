// What goes on in each layer: sizes of activations and gradients over depth and time, updates, dead units.
import {Chart} from "../charts.js";
import {draw, FIRE} from "../heat.js";
import {el, figure, fill, onTheme} from "../ui.js";
import {styleOf} from "./curves.js";

const SILENT = ["flatten", "dropout", "identity", "input"]; // they pass on what they got
const MOST_LINES = 8; // curves in one chart; more layers are shown by the heat map alone
const WIDTH = 600; // points of a heat map across
const DECADES = {activation: 3, gradient: 4};

export class Inside {
  constructor(place) {
    this.place = place;
    this.heats = {
      activation: new Heat("Activations", "size (root mean square) of what leaves each layer", "1/1000", "1", "1000"),
      gradient: new Heat("Gradients", "size beside the last layer's at the same update", "1/10,000", "the same", "10,000 times"),
    };
    this.lines = el("div", {class: "panels"});
    this.charts = {};
    place.append(el("h2", {}, "Inside the network"),
      el("p", {class: "quiet"}, "Darkness: what vanishes. Fire: what explodes. Measured on a sample of each layer's numbers, the first layer at the top."),
      el("div", {class: "panels"}, this.heats.activation.box, this.heats.gradient.box), this.lines);
    onTheme(() => this.run && this.draw(this.run));
  }

  draw(run) {
    this.run = run;
    const {layers, kinds, weights, shapes, tables} = run.whole, steps = run.steps("steps");
    this.place.hidden = steps.length < 1 || !layers.length;
    if (this.place.hidden) return;
    const loud = layers.map((_, i) => i).filter((i) => !SILENT.includes(kinds[i]));
    const shown = loud.length ? loud : layers.map((_, i) => i);
    const names = shown.map((i) => layers[i]);
    const values = (group) => shown.map((i) => tables.steps[group][i]);
    this.heats.activation.set(names, steps, values("activation"), (v) => log10(v) / DECADES.activation);
    const gradients = values("gradient"), last = gradients.at(-1) || [];
    this.heats.gradient.set(names, steps, gradients, (v, t) => (log10(v) - log10(last[t])) / DECADES.gradient);
    const wide = weights.map((_, i) => i).filter((i) => (shapes[i]?.length ?? 2) > 1);
    this.chart("activation", "Activations, root mean square", names, steps, values("activation"), true);
    this.chart("gradient", "Gradients, root mean square", names, steps, gradients, true);
    this.chart("update", "Size of an update beside its weights (about 1/1000 is usual)", wide.map((i) => weights[i]), steps, wide.map((i) => tables.steps.update[i]), true);
    const units = run.steps("units");
    for (const [name, title] of [["dead", "Dead units, share"], ["saturated", "Saturated units, share"]]) {
      const own = shown.filter((i) => (tables.units[name][i] || []).some((v) => number(v) > 0.005));
      this.chart(name, title, own.map((i) => layers[i]), units, own.map((i) => tables.units[name][i]), false);
    }
  }

  chart(name, title, labels, x, ys, log) {
    const old = this.charts[name], some = labels.length > 0 && x.length > 1;
    if (old) old.box.hidden = !some;
    if (!some) return;
    const picked = labels.length <= MOST_LINES ? labels.map((_, i) => i) : spread(labels.length, MOST_LINES);
    const curves = picked.map((i, place) => ({label: labels[i], ...styleOf(place)}));
    const look = JSON.stringify(curves), data = [x, ...picked.map((i) => ys[i].map(number))];
    if (old && old.look === look) {
      old.chart.set(data);
      return;
    }
    old?.chart.destroy();
    old?.box.remove();
    const inner = el("div");
    const box = el("div", {class: "inside", role: "group", "aria-label": title}, el("h3", {}, title), inner);
    this.lines.append(box);
    const chart = new Chart(inner, curves, {height: 200, xLabel: "updates", log});
    chart.set(data);
    this.charts[name] = {box, chart, look};
  }
}

const number = (v) => (typeof v === "string" ? {nan: NaN, inf: Infinity, "-inf": -Infinity}[v] : v);
const log10 = (v) => Math.log10(Math.max(number(v), 1e-45)); // NaN stays NaN: it is shown as fire
const spread = (n, most) => [...new Set(Array.from({length: most}, (_, i) => Math.round((i * (n - 1)) / (most - 1))))];

/** Layers down, updates across. The arrow keys move a mark over it, whose place is told in words. */
class Heat {
  constructor(title, what, low, middle, high) {
    this.rows = el("div", {class: "rows", "aria-hidden": "true"});
    this.canvas = el("canvas", {tabindex: "0", role: "img"});
    this.axis = el("div", {class: "axis"});
    this.said = el("p", {class: "heat-said", role: "status"});
    this.title = title;
    const scale = el("canvas", {width: 256, height: 1, "aria-hidden": "true"});
    draw(scale, Uint8Array.from({length: 256}, (_, i) => i), 256, 1, FIRE);
    this.box = el("div", {class: "inside"}, el("h3", {}, `${title}: ${what}`),
      el("div", {class: "heat"}, this.rows, this.canvas, this.axis),
      el("div", {class: "scale"}, el("span", {}, low), scale, el("span", {}, `${high}; in the middle: ${middle}`)), this.said);
    this.canvas.addEventListener("pointermove", (e) => {
      const area = this.canvas.getBoundingClientRect();
      this.tell(Math.floor(((e.clientX - area.left) / area.width) * this.width), Math.floor(((e.clientY - area.top) / area.height) * this.names.length));
    });
    this.canvas.addEventListener("keydown", (e) => {
      const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
      if (!move) return;
      e.preventDefault();
      const [x, y] = this.at || [this.width, 0];
      this.tell(x + move[0] * Math.ceil(this.width / 40), y + move[1]);
    });
  }

  set(names, steps, values, level) {
    const height = Math.max(4, Math.min(24, Math.floor(220 / names.length)));
    const last = steps.at(-1) || 1;
    this.width = Math.max(Math.min(WIDTH, last + 1), 1);
    this.place = new Uint32Array(this.width); // the measurement that each column shows: the last one up to it
    for (let x = 0, t = 0; x < this.width; x++) {
      while (t + 1 < steps.length && steps[t + 1] <= (x / Math.max(this.width - 1, 1)) * last) t++;
      this.place[x] = t;
    }
    const levels = new Uint8Array(this.width * names.length);
    values.forEach((row, y) => {
      const colours = row.map((v, t) => {
        const at = level(v, t);
        return Number.isNaN(at) ? 255 : Math.max(0, Math.min(255, Math.round(127.5 + 127.5 * at)));
      });
      for (let x = 0; x < this.width; x++) levels[y * this.width + x] = colours[this.place[x]];
    });
    Object.assign(this, {names, steps, values});
    this.canvas.width = this.width;
    this.canvas.height = names.length;
    this.canvas.style.height = `${height * names.length}px`;
    draw(this.canvas, levels, this.width, names.length, FIRE);
    this.rows.style.gridTemplateRows = `repeat(${names.length}, ${height}px)`;
    const every = Math.ceil(12 / height), told = names.join("\n") + every;
    if (told !== this.told) {
      fill(this.rows, names.map((name, i) => el("span", {title: name, style: {"line-height": `${height}px`, "font-size": `${Math.min(12, Math.max(height, 9))}px`}}, i % every ? "" : name)));
      this.told = told;
    }
    fill(this.axis, el("span", {}, "0"), el("span", {}, `update ${figure(last)}`));
    this.canvas.setAttribute("aria-label", `${this.title} of ${names.length} layers over ${figure(last)} updates: ${
      names.length > 6 ? "" : names.map((name, i) => `${name} now ${figure(number(values[i].at(-1)))}`).join(", ")}. The arrow keys read single places.`);
  }

  tell(x, y) {
    this.at = [Math.max(0, Math.min(this.width - 1, x)), Math.max(0, Math.min(this.names.length - 1, y))];
    const t = this.place[this.at[0]], layer = this.at[1];
    this.said.textContent = `${this.names[layer]}, update ${figure(this.steps[t])}: ${figure(number(this.values[layer][t]))}`;
  }
}
