// The part of the run that is looked at: from t0 to t1, in seconds.

const ZOOM_SECONDS_MIN = 0.002;

class TimeWindow {
  constructor(begin, end) {
    const margin = Math.max((end - begin) * 0.015, 0.05);
    this.begin = begin - margin;
    this.end = end + margin;
    this.t0 = this.begin;
    this.t1 = this.end;
    this.listeners = [];
  }

  get length() { return this.t1 - this.t0; }
  get whole() { return this.end - this.begin; }

  show(t0, t1) {
    const length = Math.min(Math.max(t1 - t0, ZOOM_SECONDS_MIN), this.whole);
    const middle = (t0 + t1) / 2;
    this.t0 = Math.min(Math.max(middle - length / 2, this.begin), this.end - length);
    this.t1 = this.t0 + length;
    for (const listener of this.listeners) listener();
  }

  fit() { this.show(this.begin, this.end); }
  pan(seconds) { this.show(this.t0 + seconds, this.t1 + seconds); }

  // What is at time `at` stays where it is.
  zoom(factor, at = (this.t0 + this.t1) / 2) {
    const length = Math.min(Math.max(this.length * factor, ZOOM_SECONDS_MIN), this.whole);
    const share = (at - this.t0) / this.length;
    this.show(at - share * length, at + (1 - share) * length);
  }

  // Moves only if that time is not in sight.
  reveal(t) {
    if (t < this.t0 || t > this.t1) this.show(t - this.length / 2, t + this.length / 2);
  }
}

// Times for the axis: about one each `pixels`, at 1, 2 or 5 times a power of ten.
function ticks(t0, t1, width, pixels = 90) {
  const rough = ((t1 - t0) / Math.max(width, 1)) * pixels;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) || 10 * power;
  const found = [];
  for (let k = Math.ceil(t0 / step); k * step <= t1; k++) found.push(k * step);
  return { step, at: found };
}

function seconds(t, step = 0.001) {
  const digits = Math.min(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)), 4);
  return `${t.toFixed(digits)} s`;
}

function duration(s) {
  if (s < 0.0095) return `${(s * 1000).toFixed(1)} ms`;
  return s < 0.9995 ? `${(s * 1000).toFixed(0)} ms` : `${s.toFixed(s < 100 ? 2 : 1)} s`;
}

