// Optimizers from the same weights: their losses, and their ways on a slice of the loss surface.
import {post} from "../api.js";
import {Chart} from "../charts.js";
import {draw, ONE_SIDED, scaled} from "../heat.js";
import {colour, el, figure, fill, onTheme, still} from "../ui.js";
import {named, num} from "./words.js";

const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c8"];
const FIRST = ["gradient_descent", "sgd", "momentum", "adam"];

export class Race {
  constructor(place, about) {
    Object.assign(this, {place, about, racing: false, result: null, rates: {...about.rates}, in: new Set(FIRST), updates: 300});
    onTheme(() => this.result && this._surface());
  }

  /** seat(): which; failed(error). */
  open(seat, failed) {
    Object.assign(this, {seat, failed});
    if (!this.place.childNodes.length) this._make();
  }

  _make() {
    const racer = (name) => el("div", {class: "row"},
      el("input", {type: "checkbox", id: `race-${name}`, checked: this.in.has(name), onchange: (e) => (e.target.checked ? this.in.add(name) : this.in.delete(name))}),
      el("label", {for: `race-${name}`}, named(name)),
      el("input", {type: "number", min: 0, max: 1000, step: "any", value: String(this.rates[name]), "aria-label": `Step size of ${named(name)}`, onchange: (e) => (this.rates[name] = Number(e.target.value))}));
    this.go = el("button", {class: "main", onclick: () => (this.racing ? (this.racing = false) : this.run())}, "Start the race");
    this.said = el("p", {class: "quiet", role: "status"});
    this.chart = el("div", {});
    this.map = el("canvas", {class: "surface", width: 620, height: 620, role: "img", "aria-label": "The loss surface with the ways of the optimizers"});
    this.slider = el("input", {type: "range", min: "0", max: "1", value: "1", "aria-label": "How far the ways are drawn", hidden: true, oninput: () => this._surface()});
    this.ends = el("div", {});
    fill(this.place,
      el("p", {}, "All begin at the same weights, on the data and network chosen above, and learn for as many updates. Gradient descent takes all examples at once, the others a batch."),
      el("div", {class: "racers"}, Object.keys(this.rates).map(racer)),
      el("div", {class: "row"}, this.go, el("label", {}, "Updates ", el("select", {onchange: (e) => (this.updates = Number(e.target.value))},
        [100, 300, 1000].map((n) => el("option", {value: String(n), selected: n === 300}, String(n)))))),
      this.said, el("div", {class: "tracks"}, el("div", {}, this.chart, this.ends), el("div", {class: "square"}, this.map, this.slider)));
  }

  async run() {
    const racers = Object.fromEntries([...this.in].map((name) => [name, this.rates[name]]));
    this.racing = true;
    this.go.textContent = "Stop";
    this.said.textContent = "Getting ready: each optimizer is compiled once, which takes a few seconds the first time.";
    try {
      let result = await post("race", {seat: this.seat(), racers, updates: this.updates});
      this._begin(result);
      while (this.racing && !result.done) {
        result = await post("race/tick", {seat: this.seat()});
        this._curves(result);
      }
      this.result = result.done ? result : null;
      if (this.result) this._end();
    } catch (error) {
      this.failed(error);
    }
    this.racing = false;
    this.go.textContent = "Start the race";
  }

  _begin(result) {
    this.place.querySelector("canvas").getContext("2d").clearRect(0, 0, 620, 620);
    fill(this.chart);
    this.plot = new Chart(this.chart, result.racers.map((r, i) => ({label: named(r.name), colour: COLOURS[i]})), {height: 240, xLabel: "updates", log: true});
    this.slider.hidden = true;
    fill(this.ends);
    this._curves(result);
  }

  _curves(result) {
    this.said.textContent = `${result.step} of ${result.updates} updates`;
    this.plot.set([result.at, ...result.racers.map((r) => r.losses)]);
  }

  _end() {
    const {racers, surface, at} = this.result;
    this.said.textContent = `The plane through the start and the two main directions of all ways shows ${Math.round(surface.explained * 100)} % of their spread (Li et al. 2018). Dark is a low loss; each way is projected onto it.`;
    fill(this.ends, el("ol", {}, [...racers].sort((a, b) => (a.last ?? Infinity) - (b.last ?? Infinity)).map((r) =>
      el("li", {}, `${named(r.name)}, step size ${num(r.rate)}: loss ${r.stopped ? "ran off" : figure(r.last)}`))));
    Object.assign(this.slider, {max: String(at.length - 1), value: String(at.length - 1), hidden: false});
    if (still()) return this._surface();
    let shown = 0;
    const on = () => {
      this.slider.value = String(++shown);
      this._surface();
      if (shown < at.length - 1) requestAnimationFrame(on);
    };
    on();
  }

  _surface() {
    const {surface, racers} = this.result, {side, low, high} = surface, size = 620, until = Number(this.slider.value);
    const heights = surface.heights.map((h) => (h === null ? Infinity : Math.log10(Math.max(h, 1e-9))));
    const known = heights.filter(Number.isFinite).sort((a, b) => a - b), top = known[Math.floor(known.length * 0.97)];
    draw(this.map, scaled(heights.map((h) => Math.min(h, top)), known[0], top), side, side, ONE_SIDED, true);
    const on = this.map.getContext("2d"), light = colour("--bg");
    const at = (x, y) => [((x - low[0]) / (high[0] - low[0])) * size, ((high[1] - y) / (high[1] - low[1])) * size];
    const labels = [];
    surface.ways.forEach((way, i) => {
      const own = colour(COLOURS[i]);
      for (const [width, stroke] of [[7, light], [3.5, own]]) {
        on.beginPath();
        for (let k = 0; k <= until; k++) on.lineTo(...at(way.x[k], way.y[k]));
        Object.assign(on, {lineWidth: width, strokeStyle: stroke, lineJoin: "round"});
        on.stroke();
      }
      const [x, y] = at(way.x[until], way.y[until]);
      this._dot(on, x, y, own, light);
      labels.push({x, y, text: named(racers[i].name), own});
    });
    this._dot(on, ...at(surface.ways[0].x[0], surface.ways[0].y[0]), colour("--fg"), light);
    labels.push({x: at(surface.ways[0].x[0], 0)[0], y: at(0, surface.ways[0].y[0])[1], text: "start", own: colour("--fg")});
    this._labels(on, labels, light, size);
  }

  _dot(on, x, y, own, light) {
    on.beginPath();
    on.arc(x, y, 8, 0, 7);
    Object.assign(on, {fillStyle: own, lineWidth: 3, strokeStyle: light});
    on.fill();
    on.stroke();
  }

  /** Names beside the ends, moved apart where they would cover each other. */
  _labels(on, labels, light, size) {
    on.font = "600 18px system-ui, sans-serif";
    const taken = [];
    for (const {x, y, text, own} of labels) {
      const width = on.measureText(text).width + 12, left = x + 14 + width > size ? x - 14 - width : x + 14;
      let top = Math.min(Math.max(y - 13, 2), size - 28);
      while (taken.some((t) => Math.abs(t.top - top) < 28 && t.left < left + width && left < t.left + t.width)) top += 28;
      taken.push({left, top, width});
      on.fillStyle = light;
      on.beginPath();
      on.roundRect(left, top, width, 26, 5);
      on.fill();
      on.fillStyle = own;
      on.fillText(text, left + 6, top + 19);
    }
  }
}
