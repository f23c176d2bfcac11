// What is asked of the data while it is looked at.

const HEAD = new Set(["n", "t", "kind", "node", "guest_n", "guest_t"]);
const LOUD = new Set([
  "panic", "machine-crashed", "disk-exited", "refused", "events-lost", "garbage", "fault", "epoch-not-begun", "damaged",
]);

function short(value) {
  if (typeof value === "string") return value === "" || /\s/.test(value) ? JSON.stringify(value) : value;
  if (Array.isArray(value)) return `[${value.map(short).join(",")}]`;
  if (value && typeof value === "object") {
    return `{${Object.entries(value).map(([key, item]) => `${key}:${short(item)}`).join(",")}}`;
  }
  return String(value);
}

const fieldsText = (event) =>
  Object.entries(event).filter(([key]) => !HEAD.has(key)).map(([key, value]) => `${key}=${short(value)}`).join(" ");

// The last place in an ascending `list` whose key is not above `value`; -1: none.
function lastUpTo(list, value, key) {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(list[middle]) <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

const stateAt = (lane, t) => {
  const place = lastUpTo(lane || [], t, (change) => change[0]);
  return place < 0 ? null : lane[place][1];
};

class Model {
  constructor(data) {
    this.data = data;
    this.events = data.events || [];
    this.byNumber = new Map(this.events.map((event, place) => [event.n, place]));
    this.texts = new Array(this.events.length);
    this.kinds = new Map();
    for (const event of this.events) this.kinds.set(event.kind, (this.kinds.get(event.kind) || 0) + 1);
    this.filter = { nodes: new Set(data.lanes.nodes.map((node) => node.id)), kinds: null, text: "" };
    this.claim = (data.claims || []).find((one) => one.outcome === "violated") || null;
    this.causes = this.claim ? this.claim.causes.filter((one) => one.t !== undefined) : [];
    this.apply();
  }

  text(place) {
    return (this.texts[place] ??= fieldsText(this.events[place]));
  }

  // The places of the events that the filter lets through, ascending; and of each node.
  apply() {
    const { nodes, kinds, text } = this.filter;
    const wanted = text.toLowerCase().split(/\s+/).filter(Boolean);
    const all = nodes.size === this.data.lanes.nodes.length;
    this.shown = [];
    this.shownOf = new Map(this.data.lanes.nodes.map((node) => [node.id, []]));
    this.events.forEach((event, place) => {
      if (kinds && !kinds.has(event.kind)) return;
      if (!all && !(typeof event.node === "number" ? nodes.has(event.node) : false)) return;
      if (wanted.length) {
        const line = `${event.kind} n${event.node} ${this.text(place)}`.toLowerCase();
        if (!wanted.every((word) => line.includes(word))) return;
      }
      this.shown.push(place);
      const own = this.shownOf.get(event.node);
      if (own) own.push(place);
    });
  }

  // In `shown`: the last event that is not after t.
  shownAt(t) {
    return lastUpTo(this.shown, t, (place) => this.events[place].t);
  }
}

