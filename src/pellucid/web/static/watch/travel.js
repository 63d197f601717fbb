// Time travel: the run as it was after one of its epochs. Nothing is computed before it is asked for.
import {get} from "../api.js";
import {bytes, draw, ONE_SIDED, TWO_SIDED} from "../heat.js";
import {colour, el, figure, fill, onTheme} from "../ui.js";

const CLASSES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];
const TURN = 450; // milliseconds an epoch while it plays

export class Travel {
  constructor(place) {
    this.place = place;
    this.run = null;
    this.sample = null;
    this.kept = [];
    this.asked = 0;
    this.slider = el("input", {type: "range", id: "epoch", min: "0", max: "0", value: "0", oninput: () => this.go()});
    this.shown = el("output", {for: "epoch"});
    this.play = el("button", {type: "button", onclick: () => this.turn()}, "Play");
    this.state = el("p", {class: "quiet", role: "status"});
    this.parts = el("div", {class: "travel"});
    this.layers = el("div");
    this.details = el("details", {ontoggle: () => this.details.open && this.go()},
      el("summary", {}, "Look back in time"),
      el("p", {class: "quiet"}, "The network as it was after an epoch, on examples that the run kept."),
      el("div", {class: "slide"}, el("label", {for: "epoch"}, "epoch"), this.slider, this.shown, this.play),
      this.state, this.parts, this.layers);
    this.none = el("p", {class: "quiet"}, "There is nothing to look back at: this run has kept no weights of its epochs.");
    place.append(this.details, this.none);
    onTheme(() => this.moment && this.show(this.moment));
  }

  /** The run that is looked at; its kept epochs grow while it goes. */
  draw(run) {
    const other = run.name !== this.run?.name;
    this.run = run;
    const kept = run.whole?.kept || [];
    this.details.hidden = !kept.length;
    this.none.hidden = kept.length > 0;
    if (!other && kept.join() === this.kept.join()) return;
    const epoch = other ? undefined : this.kept[this.slider.value], latest = other || Number(this.slider.value) === this.kept.length - 1;
    this.kept = kept;
    this.slider.max = String(Math.max(kept.length - 1, 0));
    const place = latest ? kept.length - 1 : nearest(kept, epoch);
    this.slider.value = String(place);
    this.label();
    if (other) {
      this.stop();
      Object.assign(this, {sample: null, moment: null});
      fill(this.parts);
      fill(this.layers);
    }
    if (this.details.open && (other || latest)) this.go();
  }

  get epoch() {
    return this.kept[Number(this.slider.value)];
  }

  label() {
    this.shown.textContent = this.epoch === 0 ? "untrained" : `epoch ${figure(this.epoch)}`;
    this.slider.setAttribute("aria-valuetext", this.shown.textContent);
  }

  address(what) {
    return `run/${encodeURIComponent(this.run.name)}/${what}`;
  }

  /** Fetch what the slider points at; answers to older questions are passed over. */
  async go() {
    this.label();
    if (!this.details.open || this.epoch === undefined) return;
    const mine = ++this.asked, epoch = this.epoch;
    if (!this.moment) this.state.textContent = "computing …";
    await new Promise((done) => setTimeout(done, 60));
    if (mine !== this.asked) return;
    try {
      const moment = await get(this.address(`moment?epoch=${epoch}`));
      if (mine !== this.asked) return;
      this.state.textContent = "";
      this.show(moment);
      if (this.sample === null) this.sample = moment.samples[0]?.sample ?? 0;
      const layers = await get(this.address(`layers?epoch=${epoch}&sample=${this.sample}`));
      if (mine === this.asked) this.through(layers);
    } catch (error) {
      if (mine === this.asked) this.state.textContent = error.message;
    }
  }

  turn() {
    if (this.timer) return this.stop();
    if (Number(this.slider.value) >= this.kept.length - 1) this.slider.value = "0";
    this.play.textContent = "Halt";
    const next = async () => {
      await this.go();
      if (!this.timer) return;
      if (Number(this.slider.value) >= this.kept.length - 1) return this.stop();
      this.slider.value = String(Number(this.slider.value) + 1);
      this.timer = setTimeout(next, TURN);
    };
    this.timer = setTimeout(next, 0);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.play.textContent = "Play";
  }

  show(moment) {
    this.moment = moment;
    const {score} = moment;
    const said = score.accuracy === undefined ? `loss ${figure(score.loss)} on ${figure(score.of)} kept examples`
      : `${figure(score.wrong)} of ${figure(score.of)} wrong (accuracy ${figure(score.accuracy)}), loss ${figure(score.loss)}`;
    fill(this.parts,
      moment.boundary ? this.boundary(moment.boundary) : null,
      moment.first ? part(`What the first layer's units look for (${moment.first.path})`,
        el("div", {class: "tiles"}, moment.first.pictures.map((p, i) => picture(p, TWO_SIDED, 56, `unit ${i + 1}`))),
        scale(TWO_SIDED, `−${figure(moment.first.high)}`, figure(moment.first.high))) : null,
      part(`Mistakes: ${said}`, el("div", {class: "tiles"}, moment.mistakes.map((m) => mistake(m)))),
      part("Weights, what comes in down, units across", el("div", {class: "tiles"}, moment.weights.map((w) =>
        el("figure", {}, picture(w, TWO_SIDED, 140, `weights ${w.path}`),
          el("figcaption", {}, `${w.path}, ${w.shape.join(" × ")}; largest ${figure(w.high)}, rms ${figure(w.rms)}`))))),
      part("Examples to send through", el("div", {class: "tiles"}, moment.samples.map((s) => el("button", {
        type: "button", "aria-pressed": String(s.sample === this.sample), onclick: () => { this.sample = s.sample; this.go(); this.press(); }},
      subject(s, 44), el("span", {}, s.truth === null ? `row ${s.row + 1}` : `${s.truth}`))))));
    this.press();
  }

  press() {
    const buttons = this.parts.querySelectorAll("button[aria-pressed]");
    this.moment.samples.forEach((s, i) => buttons[i]?.setAttribute("aria-pressed", String(s.sample === this.sample)));
  }

  through(found) {
    const answer = found.answer;
    const said = !answer ? null : answer.likely
      ? `The network says ${answer.likely.map(([name, p]) => `${name} (${(100 * p).toFixed(1)} %)`).slice(0, 3).join(", ")}; the truth is ${answer.truth}.`
      : `The network says ${answer.value.map((v) => figure(v)).join(", ")}; the truth is ${figure(answer.truth)}.`;
    fill(this.layers, el("h3", {}, `Row ${found.row + 1} on its way through the layers`), subject(found, 72), said ? el("p", {}, said) : null,
      found.layers.map((l) => el("div", {class: "layer"},
        el("div", {}, el("b", {}, l.path), el("span", {class: "quiet"}, ` ${l.kind}, ${l.shape.join(" × ") || "1"}; ${figure(l.low)} to ${figure(l.high)}, ${(100 * l.zero).toFixed(0)} % zero`)),
        el("div", {class: "tiles"}, l.pictures.map((p, i) => picture(p, l.low < 0 ? TWO_SIDED : ONE_SIDED, l.pictures.length > 1 ? 56 : 300, `${l.path}, part ${i + 1}`))))));
  }

  boundary(found) {
    return found.kind === "curve" ? curve(found) : plane(found);
  }
}

const nearest = (kept, epoch) => kept.reduce((best, e, i) => (Math.abs(e - epoch) < Math.abs(kept[best] - epoch) ? i : best), 0);
const part = (title, ...children) => el("section", {}, el("h3", {}, title), children);

/** Levels as a picture, about `size` pixels along its longer side, never blurred. */
function picture({w, h, levels}, stops, size, label) {
  const enlarge = Math.min(24, Math.max(1, Math.floor(size / Math.max(w, h))));
  const canvas = el("canvas", {width: w, height: h, role: "img", "aria-label": label, style: {width: `${w * enlarge}px`, height: `${h * enlarge}px`}});
  draw(canvas, bytes(levels), w, h, stops);
  return canvas;
}

function scale(stops, low, high) {
  const canvas = el("canvas", {width: 256, height: 1, "aria-hidden": "true"});
  draw(canvas, Uint8Array.from({length: 256}, (_, i) => i), 256, 1, stops);
  return el("div", {class: "scale"}, el("span", {}, low), canvas, el("span", {}, high));
}

function subject(s, size) {
  if (s.picture) return el("img", {src: s.picture, alt: `row ${s.row + 1}`, width: String(size), height: String(size)});
  if (s.series) return picture(s.series, TWO_SIDED, size, `row ${s.row + 1}`);
  if (s.text !== undefined) return el("div", {class: "text"}, size > 60 ? s.text : s.text.slice(0, 24));
  return size > 60 ? el("p", {}, s.values.map(([name, v]) => `${name} ${figure(v)}`).join(", ")) : null;
}

function mistake(m) {
  const words = m.chance === undefined ? `${figure(m.truth)}, taken for ${figure(m.said)}`
    : `${m.truth}, taken for ${m.said} (${(100 * m.chance).toFixed(0)} %)`;
  return el("figure", {}, m.context === undefined ? subject(m, 56) : el("div", {class: "text"}, `…${m.context}`),
    m.values ? el("div", {class: "quiet"}, m.values.slice(0, 3).map(([name, v]) => `${name} ${figure(v)}`).join(", ")) : null,
    el("figcaption", {}, words, el("span", {class: "quiet"}, ` row ${m.row + 1}${m.step ? `, step ${m.step}` : ""}`)));
}

const rgb = (name) => {
  const hex = colour(name).replace("#", ""), full = hex.length === 3 ? [...hex].map((c) => c + c).join("") : hex;
  return [0, 2, 4].map((i) => parseInt(full.slice(i, i + 2), 16));
};

/** The answers over the plane of two features, the kept examples on it; those that are wrong are ringed. */
function plane(f) {
  const size = 420, canvas = el("canvas", {width: size, height: size, role: "img",
    "aria-label": `decision boundary over ${f.names.join(" and ")}: ${f.points.filter((p) => p[3]).length} of ${f.points.length} examples on the wrong side`});
  const context = canvas.getContext("2d");
  const area = f.best || f.value, {w, h} = area;
  if (f.best) {
    const best = bytes(f.best.levels), sure = bytes(f.sure.levels), image = new ImageData(w, h), back = rgb("--bg");
    const colours = f.classes.map((_, i) => rgb(CLASSES[i % CLASSES.length]));
    for (let i = 0; i < w * h; i++) {
      const part = 0.12 + 0.48 * (sure[i] / 255);
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = Math.round(back[c] * (1 - part) + (colours[best[i]] || back)[c] * part);
      image.data[4 * i + 3] = 255;
    }
    const small = new OffscreenCanvas(w, h);
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, size, size);
  } else draw(canvas, bytes(f.value.levels), w, h, ONE_SIDED, true);
  for (const [x1, x2, truth, wrong] of f.points) {
    const x = ((x1 - f.low[0]) / (f.high[0] - f.low[0])) * size, y = ((f.high[1] - x2) / (f.high[1] - f.low[1])) * size;
    context.beginPath();
    if (f.best && truth % 2) context.rect(x - 3.2, y - 3.2, 6.4, 6.4); // told apart by form as well
    else context.arc(x, y, 3.6, 0, 2 * Math.PI);
    context.fillStyle = f.best ? colour(CLASSES[truth % CLASSES.length]) : colour("--bg");
    context.strokeStyle = wrong ? colour("--fg") : colour("--bg");
    context.lineWidth = wrong ? 2.4 : 1;
    context.fill();
    context.stroke();
  }
  const said = f.best ? f.classes.slice(0, 8).map((name, i) => `${["blue", "orange", "green", "purple", "ochre", "light blue", "olive", "grey"][i]}: ${name}`).join(", ")
    : `${figure(f.range[0])} (dark) to ${figure(f.range[1])} (light)`;
  return part(`Decision boundary over ${f.names.join(" (across) and ") || "the two features"} (up)`, el("div", {class: "plane"}, canvas),
    el("p", {class: "quiet"}, `${said}. ${f.best ? "Ringed examples are on the wrong side." : ""}`));
}

/** The answer along the one feature, with the kept examples. */
function curve(f) {
  const w = 420, h = 260, canvas = el("canvas", {width: w, height: h, role: "img", "aria-label": `what the network answers over ${f.names[0] || "its feature"}`});
  const context = canvas.getContext("2d"), numbers = f.classes.length ? [0, 1] : [...f.y.flat(), ...f.points.map((p) => p[1])];
  const low = Math.min(...numbers), span = Math.max(...numbers) - low || 1, first = f.x[0], wide = f.x.at(-1) - first || 1;
  const at = (x, y) => [((x - first) / wide) * w, h - 8 - ((y - low) / span) * (h - 16)];
  context.fillStyle = colour("--quiet");
  if (!f.classes.length) for (const [x, y] of f.points) context.fillRect(...at(x, y).map((v) => v - 2), 4, 4);
  f.y.forEach((ys, i) => {
    context.beginPath();
    ys.forEach((y, k) => context.lineTo(...at(f.x[k], y)));
    context.strokeStyle = colour(CLASSES[i % CLASSES.length]);
    context.lineWidth = 2.5;
    context.stroke();
  });
  return part(`What the network answers over ${f.names[0] || "its feature"}`, canvas,
    el("p", {class: "quiet"}, f.classes.length ? `the chance of ${f.classes.join(", ")}` : `from ${figure(low)} to ${figure(low + span)}; squares are kept examples`));
}
