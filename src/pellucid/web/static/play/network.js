// The network: inputs, neurons as small pictures, outputs; lines as wide as weights (or as their gradients).
import {bytes, draw, FIRE, ramp, TWO_SIDED} from "../heat.js";
import {colour, el, figure, fill, onTheme} from "../ui.js";
import {named, num} from "./words.js";

const TOP = 66, BOTTOM = 48, LEFT = 104, RIGHT = 84, COLUMN = 82;

export class Diagram {
  /** on: {pick(layer, unit), width(layer, change), bend(layer, name), layers(change)}. */
  constructor(place, on) {
    Object.assign(this, {place, on, mode: "weights", values: null, picked: null});
    this.lines = el("canvas", {"aria-hidden": "true"});
    new ResizeObserver(() => this.layout()).observe(place);
    onTheme(() => this.frame && this.show(this.frame));
  }

  begin(scene, choices, activations) {
    Object.assign(this, {scene, choices, activations, frame: null, nodes: []});
    this._make();
    this.layout();
  }

  _make() {
    const {scene, choices} = this, inputs = scene.images ? ["pixels"] : scene.features;
    const column = (names, make) => names.map(make);
    this.columns = [column(inputs, (name, i) => this._input(name, i))];
    choices.widths.forEach((n, l) => this.columns.push(column(Array(n).fill(0), (_, u) => this._unit(l, u))));
    const outputs = scene.stages.at(-1).units;
    this.columns.push(column(Array(outputs).fill(0), (_, u) => this._output(u)));
    this.heads = choices.widths.map((n, l) => this._head(n, l));
    this.feet = scene.stages.map(() => el("div", {class: "foot"}));
    this.stage = el("div", {class: "stage"}, this.lines, this.columns, this.heads, this.feet);
    fill(this.place, this.stage);
  }

  _input(name, i) {
    const picture = el("canvas", {width: 40, height: 40});
    if (this.scene.pictures[i]) draw(picture, bytes(this.scene.pictures[i]), this.scene.side, this.scene.side, TWO_SIDED, true);
    return el("div", {class: "unit input", title: `The feature ${named(name)}`}, picture,
      el("span", {class: "title"}, this.scene.images ? "8×8 pixels" : named(name)), el("span", {class: "value", hidden: true}));
  }

  _unit(layer, unit) {
    return el("button", {class: "unit", "aria-pressed": "false", "aria-label": `Layer ${layer + 1}, neuron ${unit + 1}`,
      onclick: () => this.on.pick(layer, unit)}, el("canvas", {width: 44, height: 44}), el("span", {class: "value", hidden: true}));
  }

  _output(unit) {
    const name = this.scene.classes[unit] ?? this.scene.target;
    return el("button", {class: "unit output", "aria-pressed": "false", "aria-label": `Output ${name}`,
      onclick: () => this.on.pick(this.choices.widths.length, unit)},
    el("span", {class: "title"}, this.scene.classes.length ? `class ${name}` : name), el("span", {class: "value", hidden: true}));
  }

  _head(n, layer) {
    const bend = this.choices.activations[this.choices.activations.length > 1 ? layer : 0];
    return el("div", {class: "head"},
      el("div", {class: "count"},
        el("button", {"aria-label": `One neuron fewer in layer ${layer + 1}`, disabled: n <= 1, onclick: () => this.on.width(layer, -1)}, "−"),
        el("span", {}, String(n)),
        el("button", {"aria-label": `One neuron more in layer ${layer + 1}`, disabled: n >= 16, onclick: () => this.on.width(layer, 1)}, "+")),
      el("select", {"aria-label": `Activation of layer ${layer + 1}`, onchange: (e) => this.on.bend(layer, e.target.value)},
        this.activations.map((a) => el("option", {value: a, selected: a === bend}, named(a)))));
  }

  layout() {
    if (!this.scene) return;
    const most = Math.max(...this.columns.map((c) => c.length)), columns = this.columns.length;
    const size = most > 12 ? 24 : most > 8 ? 30 : most > 6 ? 36 : 44, gap = most > 8 ? 7 : 13;
    const width = Math.max(this.place.clientWidth, LEFT + RIGHT + (columns - 1) * COLUMN);
    const height = TOP + BOTTOM + Math.max(most, 5) * (size + gap);
    Object.assign(this.stage.style, {width: `${width}px`, height: `${height}px`});
    const middle = TOP + (height - TOP - BOTTOM) / 2;
    const across = (c) => LEFT + (columns === 1 ? 0 : (c / (columns - 1)) * (width - LEFT - RIGHT));
    this.at = this.columns.map((column, c) => column.map((node, i) => {
      const s = c === columns - 1 ? Math.min(size, 30) : size, x = across(c), y = middle + (i - (column.length - 1) / 2) * (size + gap);
      Object.assign(node.style, {left: `${x - s / 2}px`, top: `${y - s / 2}px`, width: `${s}px`, height: `${s}px`});
      return {x, y, half: s / 2};
    }));
    this.heads.forEach((head, l) => (head.style.left = `${across(l + 1)}px`));
    this.feet.forEach((foot, l) => (foot.style.left = `${across(l + 1)}px`));
    this.lines.width = Math.round(width * devicePixelRatio);
    this.lines.height = Math.round(height * devicePixelRatio);
    Object.assign(this.lines.style, {width: `${width}px`, height: `${height}px`});
    if (this.frame) this.show(this.frame);
  }

  /** shade(class): the colour of an output. */
  show(frame, shade = this.shade) {
    Object.assign(this, {frame, shade});
    const {layers} = frame, side = this.scene.side;
    layers.slice(0, -1).forEach((layer, l) => {
      const all = bytes(layer.picture);
      this.columns[l + 1].forEach((node, u) => draw(node.firstChild, all.subarray(u * side * side, (u + 1) * side * side), side, side, TWO_SIDED, true));
    });
    this.columns.at(-1).forEach((node, u) => (node.style.background = this.scene.classes.length ? shade(u) : colour("--quiet")));
    this._feet(layers);
    this._draw(layers);
  }

  _feet(layers) {
    layers.forEach((layer, l) => {
      const flow = layer.flow ?? Infinity, level = Math.max(0, Math.min(1, (Math.log10(flow || 1e-12) + 6) / 7));
      const at = 3 * Math.round(40 + level * 180), fire = ramp(FIRE);
      const bar = el("i", {style: {width: `${6 + 78 * level}px`, background: `rgb(${fire[at]},${fire[at + 1]},${fire[at + 2]})`}});
      fill(this.feet[l], bar, layer.flow === null ? "not a number" : `gradient ${num(Number((layer.flow).toPrecision(2)))}`);
    });
  }

  _draw(layers) {
    const on = this.lines.getContext("2d"), gradient = this.mode === "gradient";
    on.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    on.clearRect(0, 0, this.lines.width, this.lines.height);
    const colours = [colour("--neg"), colour("--pos")];
    layers.forEach((layer, l) => {
      const w = this._merged(gradient ? layer.gw : layer.w, layer, l), from = this.at[l], to = this.at[l + 1];
      let most = gradient ? 1e-12 : 1.5;
      for (const v of w) if (Math.abs(v) > most) most = Math.abs(v);
      from.forEach((a, i) => to.forEach((b, j) => {
        const v = w[i * to.length + j], share = Math.abs(v) / most, picked = this.picked;
        const mine = picked && picked.layer === l && picked.unit === j;
        on.globalAlpha = picked ? (mine ? 0.95 : 0.22) : 0.25 + 0.65 * share;
        on.strokeStyle = colours[v < 0 ? 0 : 1];
        on.lineWidth = 0.4 + 6 * share;
        on.beginPath();
        const x0 = a.x + a.half + 2, x1 = b.x - b.half - 2, bend = (x1 - x0) * 0.5;
        on.moveTo(x0, a.y);
        on.bezierCurveTo(x0 + bend, a.y, x1 - bend, b.y, x1, b.y);
        on.stroke();
      }));
    });
    on.globalAlpha = 1;
  }

  /** Of an image the lines of all its pixels are one, as wide as their root mean square. */
  _merged(w, layer, l) {
    if (l > 0 || !this.scene.images) return w;
    return Array.from({length: layer.units}, (_, j) => {
      let sum = 0;
      for (let i = 0; i < layer.inputs; i++) sum += w[i * layer.units + j] ** 2;
      return Math.sqrt(sum);
    });
  }

  /** Which neuron is looked at: {layer, unit} or null. */
  pick(picked) {
    this.picked = picked;
    this.columns.forEach((column, c) => column.forEach((node, u) => {
      if (node.tagName === "BUTTON") node.setAttribute("aria-pressed", String(!!picked && picked.layer === c - 1 && picked.unit === u));
    }));
    if (this.frame) this._draw(this.frame.layers);
  }

  /** Numbers beside the neurons: columns of them, from the inputs on; null: none. */
  label(columns, sign = "") {
    this.columns.forEach((column, c) => column.forEach((node, i) => {
      const value = columns?.[c]?.[i], tag = node.querySelector(".value");
      tag.hidden = value === undefined;
      tag.textContent = value === undefined ? "" : sign + (value === null ? "nan" : figure(value, 3));
    }));
  }

  picture(layer, unit) {
    const side = this.scene.side, all = bytes(this.frame.layers[layer].picture);
    return {levels: all.subarray(unit * side * side, (unit + 1) * side * side), side};
  }
}
