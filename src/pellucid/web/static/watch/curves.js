// Learning curves, of one run or of several over each other.
import {Chart, joined} from "../charts.js";
import {el, figure, table} from "../ui.js";

const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const DASHES = [null, [8, 4], [2, 3], [10, 3, 2, 3], [5, 5], [14, 4], [2, 6], [8, 3, 2, 3, 2, 3]];
export const styleOf = (i) => ({colour: COLOURS[i % COLOURS.length], dash: DASHES[i % DASHES.length]});

const has = (values) => values.some(Number.isFinite);

export class Curves {
  constructor(place) {
    this.kind = el("select", {id: "x-axis", onchange: () => this.draw(this.runs)},
      ["updates", "epochs", "seconds"].map((name) => el("option", {value: name}, name)));
    this.log = el("input", {type: "checkbox", id: "log-loss", onchange: () => this.draw(this.runs)});
    this.charts = {};
    this.grid = el("div", {class: "panels"});
    this.numbers = el("details", {ontoggle: () => this.table()}, el("summary", {}, "Numbers"), el("div"));
    place.append(el("div", {class: "title"}, el("h2", {}, "Learning"),
      el("div", {class: "row"}, el("label", {for: "x-axis"}, "over"), this.kind, el("label", {}, this.log, " loss on a logarithmic scale"))),
      this.grid, this.numbers);
  }

  /** A chart that is there as long as it has something to show. */
  chart(name, title, curves, marks = () => []) {
    const shown = curves.filter((curve) => has(curve.y));
    let one = this.charts[name];
    if (!shown.length) {
      if (one) one.box.hidden = true;
      return;
    }
    const look = JSON.stringify([shown.map(({label, colour, dash, width}) => [label, colour, dash, width]), this.kind.value, this.log.checked]);
    if (!one) {
      const heading = el("h3"), inner = el("div");
      const box = el("div", {role: "group", "aria-label": title}, heading, inner);
      this.grid.append(box);
      one = this.charts[name] = {box, heading, inner, chart: null, look: null};
    }
    one.box.hidden = false;
    one.heading.textContent = title;
    one.box.setAttribute("aria-label", title);
    const data = joined(shown);
    if (one.look !== look) {
      one.chart?.destroy();
      one.inner.replaceChildren();
      one.chart = new Chart(one.inner, shown, {height: 230, xLabel: this.kind.value, log: name === "loss" && this.log.checked, marks: () => one.marks()});
      one.look = look;
    }
    one.marks = marks;
    one.chart.set(data);
  }

  draw(runs) {
    this.runs = runs.filter((run) => run.whole);
    if (!this.runs.length) return;
    if (this.runs.length === 1) this.alone(this.runs[0]);
    else this.several(this.runs);
    this.table();
  }

  alone(run) {
    const to = run.axis(this.kind.value), x = (name) => run.steps(name).map(to);
    const epochs = x("epochs"), chunks = x("chunks"), metric = run.metric.replaceAll("_", " ");
    const found = run.whole.findings.filter((f) => f.severity !== "note" && f.step !== null && f.step !== undefined);
    const marks = () => [
      ...(run.whole.best ? [{x: to(run.stepOf(run.whole.best)), label: "best epoch", colour: "--c3"}] : []),
      ...found.map((f) => ({x: to(f.step), label: f.title, colour: "--c2"})),
    ];
    const e = (name) => run.column("epochs", name);
    this.chart("loss", "Loss", [
      {label: "training, while learning", colour: "--c6", dash: [2, 3], width: 1, x: chunks.length ? chunks : epochs, y: chunks.length ? run.column("chunks", "loss") : e("train")},
      {label: "training", colour: "--c1", x: epochs, y: e("sample")},
      {label: "validation", colour: "--c2", dash: [8, 4], x: epochs, y: e("validation")},
    ], marks);
    this.chart("metric", metric[0].toUpperCase() + metric.slice(1), [
      {label: "training", colour: "--c1", x: epochs, y: e("sample_metric")},
      {label: "validation", colour: "--c2", dash: [8, 4], x: epochs, y: e("validation_metric")},
    ], marks);
    this.chart("rate", "Learning rate", [{label: "learning rate", colour: "--c1", x: x("steps"), y: run.column("steps", "rate")}]);
    this.chart("speed", "Examples a second", [{label: "examples a second", colour: "--c1", x: x("clock"), y: run.column("clock", "speed")}]);
  }

  several(runs) {
    const curves = (name) => runs.flatMap((run, i) => {
      const to = run.axis(this.kind.value), x = run.steps("epochs").map(to), y = run.column("epochs", name);
      return {label: run.name, ...styleOf(i), x, y};
    });
    const validated = (suffix) => (runs.some((run) => has(run.column("epochs", `validation${suffix}`))) ? "validation" : "sample");
    const names = [...new Set(runs.map((run) => run.metric))];
    this.chart("loss", `Loss, ${validated("") === "sample" ? "training" : "validation"}`, curves(validated("")));
    const metric = names.length === 1 ? names[0].replaceAll("_", " ") : "metric";
    this.chart("metric", `${metric[0].toUpperCase()}${metric.slice(1)}, validation`, curves(`${validated("_metric")}_metric`));
    this.chart("training", "Loss, training", curves("sample"));
    this.chart("rate", "Learning rate", runs.map((run, i) => ({label: run.name, ...styleOf(i), x: run.steps("steps").map(run.axis(this.kind.value)), y: run.column("steps", "rate")})));
    this.chart("speed", "Examples a second", runs.map((run, i) => ({label: run.name, ...styleOf(i), x: run.steps("clock").map(run.axis(this.kind.value)), y: run.column("clock", "speed")})));
  }

  /** The last epochs as text, for who cannot read curves. */
  table() {
    if (!this.numbers.open || !this.runs?.length) return;
    const rows = this.runs.flatMap((run) => {
      const column = (name) => run.column("epochs", name), epochs = column("epoch"), first = Math.max(epochs.length - 12, 0);
      return epochs.slice(first).map((epoch, i) => [
        run.name, figure(epoch), ...["sample", "validation", "sample_metric", "validation_metric"].map((name) => {
          const value = column(name)[first + i];
          return Number.isNaN(value) ? "" : figure(value);
        })]);
    });
    const metric = this.runs[0].metric;
    this.numbers.lastChild.replaceChildren(table(["run", "epoch", "loss, training", "loss, validation", `${metric}, training`, `${metric}, validation`], rows, "the last epochs"));
  }
}
