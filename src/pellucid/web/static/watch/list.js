// The runs of the folder, to choose one or several from.
import {el, fill, figure} from "../ui.js";

const NS = "http://www.w3.org/2000/svg";

export class List {
  constructor(place, chosen) {
    this.lines = new Map();
    this.rows = new Map(); // name -> li
    this.chosen = chosen; // (names) => void
    this.shown = [];
    this.note = el("p", {class: "quiet"});
    this.list = el("ul");
    fill(place, el("h1", {}, "Pellucid"), this.note, this.list);
  }

  set(folder, lines) {
    this.lines = new Map(lines.map((line) => [line.name, line]));
    this.folder = folder;
    this.draw();
  }

  update({changed, gone}) {
    for (const line of changed) this.lines.set(line.name, line);
    for (const name of gone) this.lines.delete(name);
    this.draw();
  }

  show(names) {
    this.shown = names;
    this.draw();
  }

  get names() {
    return [...this.lines.keys()].sort().reverse();
  }

  draw() {
    const n = this.lines.size;
    this.note.textContent = n ? `${n} run${n > 1 ? "s" : ""} in ${this.folder}; tick several to compare` : `no runs in ${this.folder}`;
    const names = this.names;
    for (const [name, row] of this.rows) if (!this.lines.has(name)) (row.remove(), this.rows.delete(name));
    names.forEach((name, place) => {
      const line = this.lines.get(name), said = JSON.stringify([line, this.shown.includes(name)]);
      let row = this.rows.get(name);
      if (!row) {
        row = this.row(name);
        this.rows.set(name, row);
      }
      if (row.said !== said) this.refresh(row, line), (row.said = said);
      if (this.list.children[place] !== row) this.list.insertBefore(row, this.list.children[place] || null);
    });
  }

  row(name) {
    const box = el("input", {type: "checkbox", "aria-label": `compare ${name}`, onchange: () => {
      const others = this.shown.filter((other) => other !== name);
      this.chosen(box.checked ? [...others, name] : others);
    }});
    const label = el("span", {class: "name"}, name), state = el("span", {class: "state"});
    const spark = document.createElementNS(NS, "svg");
    spark.setAttribute("viewBox", "0 0 72 26");
    spark.setAttribute("aria-hidden", "true");
    const button = el("button", {type: "button", onclick: () => this.chosen([name])}, label, spark, state);
    return Object.assign(el("li", {}, box, button), {parts: {box, button, state, spark}});
  }

  refresh(row, line) {
    const {box, button, state, spark} = row.parts, chosen = this.shown.includes(line.name);
    row.classList.toggle("chosen", chosen);
    box.checked = chosen;
    if (chosen) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    const score = line.score === null || line.score === undefined ? "" : `, ${line.part} ${line.metric} ${figure(line.score)}`;
    state.textContent = `${line.status}${score}`;
    spark.replaceChildren();
    if (line.spark.length > 1) {
      const low = Math.min(...line.spark), span = Math.max(...line.spark) - low || 1;
      const points = line.spark.map((v, i) => `${(1 + (70 * i) / (line.spark.length - 1)).toFixed(1)},${(24 - (22 * (v - low)) / span).toFixed(1)}`);
      const curve = document.createElementNS(NS, "polyline");
      for (const [k, v] of Object.entries({points: points.join(" "), fill: "none", stroke: "var(--c1)", "stroke-width": "1.5"})) curve.setAttribute(k, v);
      spark.append(curve);
    }
  }
}
