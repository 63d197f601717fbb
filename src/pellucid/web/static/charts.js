// Curves by uPlot, in the page's colours, as wide as their place.
import uPlot from "./lib/uPlot.esm.js";
import {colour, figure, onTheme} from "./ui.js";

const all = new Set();
onTheme(() => all.forEach((chart) => chart.rebuild()));
const sizes = new ResizeObserver((entries) => {
  for (const {target} of entries) target.chart?.resize();
});

/** A chart in `place`: curves {label, colour: "--c1", dash: [5, 4]}; then `set([x, y1, y2, ...])`, as often as wanted.
 *  options: log (y axis), height, xLabel, marks: () => [{x, label, colour}] vertical lines. */
export class Chart {
  constructor(place, curves, options = {}) {
    Object.assign(this, {place, curves, options, data: [[], ...curves.map(() => [])], plot: null});
    place.classList.add("chart");
    place.chart = this;
    all.add(this);
    sizes.observe(place);
    this.rebuild();
  }

  set(data) {
    this.data = data;
    this.plot?.setData(this._shown());
  }

  /** Other curves: what changes when a run with other layers is chosen. */
  replace(curves, data) {
    Object.assign(this, {curves, data});
    this.rebuild();
  }

  destroy() {
    sizes.unobserve(this.place);
    all.delete(this);
    this.plot?.destroy();
  }

  resize() {
    const width = this.place.clientWidth;
    if (this.plot && width > 0 && width !== this.plot.width) this.plot.setSize({width, height: this._height()});
  }

  rebuild() {
    this.plot?.destroy();
    const axis = {stroke: colour("--quiet"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line")},
      font: "12px system-ui, sans-serif"};
    const values = (_, ticks) => ticks.map((v) => (v === null ? "" : figure(v, 3)));
    this.plot = new uPlot({
      width: Math.max(this.place.clientWidth, 120), height: this._height(),
      scales: {x: {time: false}, y: this.options.log ? {distr: 3} : {}},
      axes: [{...axis, values, label: this.options.xLabel, labelSize: 18, labelFont: "12px system-ui, sans-serif"},
        {...axis, values, size: room}],
      series: [{label: this.options.xLabel || "x", value: (_, v) => figure(v)}, ...this.curves.map((c) => ({
        label: c.label, stroke: colour(c.colour), width: c.width || 2, dash: c.dash, spanGaps: false, points: {show: c.points ?? ((plot) => plot.data[0].length < 4)},
        value: (_, v) => figure(v)}))],
      hooks: {draw: [(plot) => this._marks(plot)]},
      cursor: {drag: {x: true, y: false}},
    }, this._shown(), this.place);
  }

  _height() {
    return this.options.height || 200;
  }

  /** null where there is nothing to draw: not finite, or not above zero on a logarithmic axis; undefined, where a curve
   *  has no point at another's x, is drawn over. */
  _shown() {
    const [x, ...ys] = this.data, log = this.options.log;
    return [x, ...ys.map((y) => Array.from(y, (v) => (v === undefined ? v : Number.isFinite(v) && (!log || v > 0) ? v : null)))];
  }

  _marks(plot) {
    const {ctx, bbox} = plot;
    let row = 0;
    for (const mark of this.options.marks?.() || []) {
      const at = plot.valToPos(mark.x, "x", true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.save();
      ctx.strokeStyle = ctx.fillStyle = colour(mark.colour || "--fg");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
      ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
      ctx.textAlign = at > bbox.left + bbox.width / 2 ? "right" : "left";
      ctx.fillText(mark.label, at + (ctx.textAlign === "left" ? 4 : -4) * devicePixelRatio, bbox.top + (12 + 13 * (row++ % 4)) * devicePixelRatio);
      ctx.restore();
    }
  }
}

/** As wide as the longest figure on the y axis is. */
function room(plot, texts) {
  if (!texts) return 44;
  plot.ctx.save();
  plot.ctx.font = `${12 * devicePixelRatio}px system-ui, sans-serif`;
  const widest = Math.max(0, ...texts.map((text) => plot.ctx.measureText(text).width / devicePixelRatio));
  plot.ctx.restore();
  return Math.max(44, Math.ceil(widest / 8) * 8 + 16);
}

/** Curves with x of their own on one x axis: [{x, y}, ...] -> [x, y1, y2, ...], undefined where a curve has no point. */
export function joined(curves) {
  const x = [...new Set(curves.flatMap((c) => c.x))].sort((a, b) => a - b);
  const place = new Map(x.map((v, i) => [v, i]));
  return [x, ...curves.map((c) => {
    const y = new Array(x.length).fill(undefined);
    c.x.forEach((v, i) => { y[place.get(v)] = c.y[i]; });
    return y;
  })];
}
