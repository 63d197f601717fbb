// The top of a run: its state in numbers, and what can be asked of it.
import {post} from "../api.js";
import {duration, el, figure, fill} from "../ui.js";

const WAITS = 20_000; // milliseconds, after which what was asked may be asked again

export class Head {
  constructor(place, say) {
    this.say = say;
    this.asked = null;
    this.name = el("h1");
    this.badge = el("span", {class: "badge"});
    this.about = el("p", {class: "quiet"});
    this.bar = el("progress", {max: "1", "aria-label": "updates made"});
    this.facts = el("dl", {class: "facts"});
    this.hint = el("p", {class: "quiet", role: "status"});
    this.how = el("code");
    this.again = el("p", {class: "quiet"}, "It goes on from its last checkpoint with ", this.how);
    this.pause = el("button", {type: "button", onclick: () => this.ask(this.run.status === "paused" ? "continue" : "pause")}, "Pause");
    this.save = el("button", {type: "button", title: "Write a checkpoint now", onclick: () => this.ask("save")}, "Save");
    this.stop = el("button", {type: "button", onclick: () => this.open()}, "Stop…");
    this.dialog = this.confirm();
    place.append(
      el("div", {class: "title"}, el("div", {class: "row"}, this.name, this.badge),
        el("div", {class: "row"}, this.pause, this.save, this.stop)),
      this.about, this.bar, this.facts, this.again, this.hint, this.dialog);
  }

  open() {
    this.doubted = this.run; // the run that the question is about, whatever the page shows when it is answered
    this.resume.textContent = this.run.whole?.resume;
    this.dialog.showModal();
  }

  confirm() {
    const close = () => this.dialog.close();
    this.resume = el("code");
    return el("dialog", {"aria-labelledby": "stop-title"},
      el("h2", {id: "stop-title"}, "Stop this run?"),
      el("p", {}, "It saves its state first, and goes on from there with ", this.resume, "."),
      el("div", {class: "row"},
        el("button", {type: "button", class: "main", onclick: () => { close(); this.ask("stop", this.doubted); }}, "Stop"),
        el("button", {type: "button", onclick: close}, "Let it go on")));
  }

  async ask(what, run = this.run) {
    this.asked = {what, name: run.name, status: run.status, until: Date.now() + WAITS};
    this.hint.textContent = {pause: "It pauses at the end of its chunk.", continue: "It goes on.",
      save: "It saves its state.", stop: "It stops at the end of its chunk."}[what];
    if (this.run === run) this.draw(run);
    try {
      await post(`run/${encodeURIComponent(run.name)}/ask`, {ask: what});
      if (what === "save") setTimeout(() => this.over(run), 1500);
    } catch (error) {
      this.hint.textContent = error.message;
      this.over(run);
    }
  }

  over(run) {
    this.asked = null;
    if (this.run === run) this.draw(run);
  }

  draw(run) {
    if (this.run && this.run.name !== run.name) this.hint.textContent = ""; // it was about the other run
    this.run = run;
    const whole = run.whole, status = run.status;
    if (this.asked && (this.asked.name !== run.name || this.asked.status !== status || Date.now() > this.asked.until)) {
      this.asked = null;
      this.hint.textContent = "";
    }
    this.name.textContent = run.name;
    this.badge.textContent = status;
    this.badge.className = `badge ${status}`;
    const ready = (status === "running" || status === "paused") && !this.asked;
    for (const button of [this.pause, this.save, this.stop]) button.disabled = !ready;
    this.save.disabled ||= status === "paused"; // it was saved when it paused
    this.pause.textContent = status === "paused" ? "Continue" : "Pause";
    this.bar.hidden = !run.going || !whole;
    this.again.hidden = status !== "interrupted";
    this.how.textContent = whole?.resume ?? "";
    if (!whole) {
      this.about.textContent = "reading …";
      fill(this.facts);
      return;
    }
    this.about.textContent = whole.about.join(" · ");
    const {step, total} = whole.progress;
    this.bar.value = total ? Math.min(step / total, 1) : 0;
    this.numbers(run);
  }

  numbers(run) {
    const {progress, setup, result, best} = run.whole;
    const last = (table, column) => run.column(table, column).at(-1);
    const epochs = setup.steps_per_epoch ? Math.ceil(setup.updates / setup.steps_per_epoch) : null;
    const epoch = last("epochs", "epoch"), of = epochs ? ` of ${figure(epochs)}` : "";
    const scores = result ? ["test", "validation", "train"].find((part) => result[part]) : null;
    const shown = [
      ["epoch", epoch === undefined ? (run.going ? `1${of}` : "") : `${figure(run.going ? Math.min(epoch + 1, epochs || epoch) : epoch)}${of}`],
      ["update", `${figure(progress.step)}${progress.total ? ` of ${figure(progress.total)}` : ""}`],
      ["loss", figure(last("chunks", "loss") ?? last("epochs", "train"))],
      ["validation loss", figure(last("epochs", "validation"))],
      scores && run.metric !== "loss" ? [`${scores} ${run.metric}`, figure(result[scores][run.metric])]
        : run.metric !== "loss" ? [`validation ${run.metric}`, figure(last("epochs", "validation_metric"))] : null,
      ["best epoch", best ? figure(best) : ""],
      ["learning rate", figure(last("steps", "rate"))],
      ["examples a second", progress.speed ? figure(Math.round(progress.speed)) : ""],
      ["time", duration(progress.elapsed)],
      ["time left, at most", run.going && progress.left !== null ? duration(progress.left) : ""],
    ];
    fill(this.facts, shown.filter((pair) => pair && pair[1] !== "" && pair[1] !== "NaN")
      .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  }
}

/** What the doctor found, with what to do about it. */
export class Findings {
  constructor(place, say) {
    this.list = el("div");
    this.say = say;
    this.told = null;
    place.append(el("h2", {}, "What the doctor says"), this.list);
  }

  draw(run) {
    const found = run.whole?.findings || [], said = JSON.stringify([run.name, found, run.status]);
    if (said === this.told) return;
    const before = this.titles && this.of === run.name ? this.titles : null;
    this.titles = found.filter((f) => f.severity !== "note").map((f) => f.title);
    if (before) for (const title of this.titles) if (!before.includes(title)) this.say(`The doctor found: ${title}`);
    Object.assign(this, {told: said, of: run.name});
    const alarms = found.filter((f) => f.severity !== "note"), notes = found.filter((f) => f.severity === "note");
    const quiet = run.status === "finished" ? "Nothing is wrong." : "Nothing so far.";
    fill(this.list, alarms.length ? alarms.map(finding) : el("p", {}, quiet),
      notes.length ? el("details", {}, el("summary", {}, `${notes.length} note${notes.length > 1 ? "s" : ""}`), notes.map(finding)) : null);
  }
}

function finding(f) {
  const where = (f.layer ? `, ${f.layer}` : "") + (f.step !== null && f.step !== undefined ? `, since update ${figure(f.step)}` : "");
  return el("div", {class: `finding ${f.severity}`},
    el("h3", {}, f.title + where),
    f.summary ? el("p", {}, f.summary) : null,
    f.why ? el("p", {class: "quiet"}, f.why) : null,
    f.tried.map((line) => el("p", {}, line)),
    f.remedies.length ? el("div", {}, "What to try:",
      el("ul", {}, f.remedies.map((r) => el("li", {}, r.text, r.line ? [" ", el("code", {}, r.line)] : null)))) : null,
    f.source ? el("p", {class: "quiet"}, f.source) : null);
}
