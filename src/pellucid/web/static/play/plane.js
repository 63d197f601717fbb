// The large picture: the network's answer (or one neuron's) over the plane, with the points on it.
import {bytes, draw, ramp, TWO_SIDED} from "../heat.js";
import {colour, el, figure, fill, onTheme} from "../ui.js";
import {named} from "./words.js";

const SIZE = 640; // pixels of the picture
const LOW = "#2b83b5", HIGH = "#c8601f"; // two classes, or below and above the middle: colours of the scale's two sides
const MORE = ["#2b83b5", "#c8601f", "#2f9e74", "#a6478f", "#a58a12", "#5d6fd0", "#7a5c3a", "#4aa3a0", "#c2486b", "#6d7681"];

export class Plane {
  /** chosen({part, row}): a point was clicked. */
  constructor(place, chosen) {
    this.map = el("canvas", {class: "map", width: SIZE, height: SIZE, role: "img", "aria-label": "The network's answer over the plane"});
    this.under = el("div", {class: "axis"});
    this.legend = el("div", {class: "legend"});
    fill(place, this.map, this.under, this.legend);
    this.map.addEventListener("click", (e) => this._click(e, chosen));
    onTheme(() => this.redraw());
  }

  /** The scene of a new network. */
  begin(scene) {
    Object.assign(this, {scene, frame: null, unit: null});
    const [x, y] = scene.axes;
    fill(this.under, el("span", {}, `→ ${x.name}: ${figure(x.low, 3)} to ${figure(x.high, 3)}`),
      el("span", {}, `↑ ${y.name}: ${figure(y.low, 3)} to ${figure(y.high, 3)}`));
    const dot = (c, text, kind = "") => el("span", {}, el("i", {class: kind, style: {background: c}}), text);
    const known = scene.classes.length ? scene.classes.map((c, i) => dot(this.shade(i), named(c)))
      : [dot(LOW, `small ${scene.target}`), dot(HIGH, `large ${scene.target}`)];
    fill(this.legend, known, dot("", "validation", "ring"), scene.classes.length ? dot("", "wrong", "cross") : null);
  }

  /** The colour of a class. */
  shade(place) {
    return this.scene.classes.length === 2 ? [LOW, HIGH][place] : MORE[place % MORE.length];
  }

  /** unit: {levels, side} of one neuron in place of the answer. */
  show(frame, unit = null, example = null) {
    Object.assign(this, {frame, unit, example});
    this.redraw();
  }

  redraw() {
    if (!this.frame) return;
    if (this.unit) draw(this.map, this.unit.levels, this.unit.side, this.unit.side, TWO_SIDED, true);
    else if (this.frame.output.class) this._classes();
    else draw(this.map, bytes(this.frame.output.level), this.scene.output_side, this.scene.output_side, TWO_SIDED, true);
    this._points();
  }

  /** Of more than two classes: each place in the colour of the likeliest one, paler where that is not sure. */
  _classes() {
    const side = this.scene.output_side, place = bytes(this.frame.output.class), sure = bytes(this.frame.output.level);
    const least = 255 / this.scene.classes.length, small = new OffscreenCanvas(side, side), context = small.getContext("2d");
    const image = context.createImageData(side, side);
    for (let i = 0; i < side * side; i++) {
      const c = this.shade(place[i]), f = 0.25 + 0.6 * Math.max(0, (sure[i] - least) / (255 - least));
      for (let k = 0; k < 3; k++) image.data[4 * i + k] = Math.round(236 * (1 - f) + parseInt(c.slice(1 + 2 * k, 3 + 2 * k), 16) * f);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const on = this.map.getContext("2d");
    on.imageSmoothingEnabled = false;
    on.drawImage(small, 0, 0, SIZE, SIZE);
  }

  _at(x, y) {
    const [a, b] = this.scene.axes;
    return [((x - a.low) / (a.high - a.low)) * SIZE, ((b.high - y) / (b.high - b.low)) * SIZE];
  }

  _points() {
    const on = this.map.getContext("2d"), answers = bytes(this.frame.answers), {points, classes, rows} = this.scene;
    const radius = rows.train + rows.validation > 700 ? 5 : 7;
    const shown = Math.min(rows.train, 500);
    for (const part of ["train", "validation"]) {
      const p = points[part];
      for (let i = 0; i < p.row.length; i++) {
        const [x, y] = this._at(p.x[i], p.y[i]), answer = answers[(part === "train" ? 0 : shown) + p.row[i]];
        const c = classes.length ? this.shade(p.value[i]) : this._shade(p.value[i]);
        on.beginPath();
        on.arc(x, y, radius, 0, 2 * Math.PI);
        if (part === "train") {
          on.fillStyle = c;
          on.fill();
          on.lineWidth = 1.5;
          on.strokeStyle = "#fff";
        } else {
          on.fillStyle = "#ffffffd0";
          on.fill();
          on.lineWidth = 3.5;
          on.strokeStyle = c;
        }
        on.stroke();
        if (classes.length && answer !== p.value[i]) this._ring(x, y, radius + 3, "#111", 2);
      }
    }
    this._example(on, radius);
  }

  _example(on, radius) {
    if (!this.example) return;
    const p = this.scene.points[this.example.part], i = p.row.indexOf(this.example.row);
    if (i < 0) return;
    const [x, y] = this._at(p.x[i], p.y[i]);
    this._ring(x, y, radius + 8, "#fff", 6);
    this._ring(x, y, radius + 8, "#111", 3);
  }

  _ring(x, y, radius, stroke, width) {
    const on = this.map.getContext("2d");
    on.beginPath();
    on.arc(x, y, radius, 0, 2 * Math.PI);
    on.lineWidth = width;
    on.strokeStyle = stroke;
    on.stroke();
  }

  /** The colour of a number within the targets' range. */
  _shade(value) {
    const [low, high] = this.scene.range, colours = ramp(TWO_SIDED);
    const at = 3 * Math.max(0, Math.min(255, Math.round(((value - low) / (high - low || 1)) * 255)));
    return `rgb(${colours[at]},${colours[at + 1]},${colours[at + 2]})`;
  }

  _click(event, chosen) {
    if (!this.scene) return;
    const box = this.map.getBoundingClientRect(), scale = SIZE / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = null, least = Infinity;
    for (const part of ["train", "validation"]) {
      const p = this.scene.points[part];
      for (let i = 0; i < p.row.length; i++) {
        const [a, b] = this._at(p.x[i], p.y[i]), far = (a - x) ** 2 + (b - y) ** 2;
        if (far < least) [best, least] = [{part, row: p.row[i]}, far];
      }
    }
    if (best) chosen(best);
  }
}

/** A small picture of a set's points, [[x, y, value], ...] within ±6, for the button that chooses it. */
export function sample(canvas, points, classes) {
  const on = canvas.getContext("2d"), size = canvas.width;
  on.fillStyle = colour("--soft");
  on.fillRect(0, 0, size, size);
  for (const [x, y, value] of points) {
    on.fillStyle = classes ? MORE[value] : value > 0 ? HIGH : LOW;
    on.beginPath();
    on.arc(size / 2 + (x / 12) * size, size / 2 - (y / 12) * size, size / 26, 0, 7);
    on.fill();
  }
}
