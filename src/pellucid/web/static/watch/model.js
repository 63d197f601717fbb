// A run as the page knows it: fetched once as a whole, and kept up to date by what the server sends.
import {get} from "../api.js";
import {number} from "../ui.js";

const MOST = 2400; // rows of a table, after which it is fetched again, thinned out

export class Run {
  constructor(name, changed) {
    Object.assign(this, {name, changed, whole: null, error: "", fetching: false, stale: false});
  }

  get seq() {
    return this.whole ? this.whole.seq : -2;
  }

  async fetch() {
    if (this.fetching) {
      this.stale = true;
      return;
    }
    this.fetching = true;
    try {
      do {
        this.stale = false;
        this.whole = await get(`run/${encodeURIComponent(this.name)}`);
        this.error = "";
      } while (this.stale);
    } catch (error) {
      this.error = error.message;
    }
    this.fetching = false;
    this.changed(this);
  }

  /** What the server sent: rows to append, or word that all is to be fetched anew. */
  more(sent) {
    if (sent.seq <= this.seq) return;
    if (sent.again || !this.whole || sent.seq !== this.seq + 1 || this.fetching) {
      this.fetch();
      return;
    }
    const {tables, ...rest} = sent;
    Object.assign(this.whole, rest);
    let longest = 0;
    for (const [name, table] of Object.entries(tables)) {
      const own = this.whole.tables[name];
      for (const [column, values] of Object.entries(table))
        if (Array.isArray(values[0])) values.forEach((v, i) => own[column][i].push(...v));
        else own[column].push(...values);
      longest = Math.max(longest, own.step.length);
    }
    if (longest > MOST) this.fetch();
    else this.changed(this);
  }

  get status() {
    return this.whole ? this.whole.status : "starting";
  }

  get going() {
    return ["running", "paused", "starting", "scoring"].includes(this.status);
  }

  column(table, name) {
    return (this.whole?.tables[table]?.[name] || []).map(number);
  }

  steps(table) {
    return this.whole?.tables[table]?.step || [];
  }

  get metric() {
    return this.whole?.setup.metric || "loss";
  }

  /** A function from updates to what the x axis shows: "updates", "epochs" or "seconds". */
  axis(kind) {
    if (kind === "epochs") {
      const per = this.whole.setup.steps_per_epoch || 1;
      return (step) => step / per;
    }
    if (kind !== "seconds") return (step) => step;
    const steps = [0, ...this.steps("clock")], times = [0, ...this.column("clock", "elapsed")];
    return (step) => {
      let low = 0, high = steps.length - 1;
      while (low < high) {
        const middle = (low + high) >> 1;
        if (steps[middle] < step) low = middle + 1;
        else high = middle;
      }
      if (low === 0 || steps[low] === steps[low - 1]) return times[low];
      const part = Math.min((step - steps[low - 1]) / (steps[low] - steps[low - 1]), 1);
      return times[low - 1] + part * (times[low] - times[low - 1]);
    };
  }

  /** The update at which an epoch ended. */
  stepOf(epoch) {
    return epoch * (this.whole.setup.steps_per_epoch || 1);
  }
}
