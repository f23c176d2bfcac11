// Ties the parts of the page together: one cursor, one filter, one window of time.

const data = await readData();
const one = (selector) => document.querySelector(selector);
const model = new Model(data);
readColours();
const view = new TimeWindow(data.begin, data.end);
const options = { events: true, disk: false, messages: false };
const cursor = { t: data.begin, place: undefined };

const timeline = new Timeline(one("#timeline"), model, view, { options, onPick: pick });
const list = new EventList(one("#events .rows"), model, pick);
const consoles = new Consoles(one("#consoles"), data);
const moment = new Moment(one("#moment"), model);
drawRecoveries(one("#recoveries .bars"), data, (recovery) => {
  const end = recoveryEnd(recovery);
  view.show(recovery.begin - 0.1 * (end - recovery.begin) - 0.02, end + 0.25 * (end - recovery.begin) + 0.02);
  pick({ place: model.byNumber.get(recovery.n), t: recovery.begin });
});
drawClaims(one("#claims"), model, pick);

// To a place: an event (`place` among all, or its number `n`), or a time alone.
function pick({ t, place, n, node }) {
  if (place === undefined && n !== undefined) place = model.byNumber.get(n);
  const event = place === undefined ? null : model.events[place];
  cursor.place = place;
  cursor.t = event ? event.t : Math.min(Math.max(t, view.begin), view.end);
  const who = event && typeof event.node === "number" ? event.node : node;
  if (typeof who === "number" && data.consoles[who] && data.consoles[who].lines.length) consoles.show(who);
  follow();
}

function follow() {
  view.reveal(cursor.t);
  timeline.setCursor(cursor.t);
  const shown = model.shownAt(cursor.t);
  list.choose(cursor.place ?? (shown < 0 ? -1 : model.shown[shown]));
  consoles.follow(cursor.t);
  moment.show(cursor.t, cursor.place);
  const event = cursor.place === undefined ? null : model.events[cursor.place];
  one("#said").textContent = `${seconds(cursor.t)}${event ? `, event ${event.n}: ${event.kind}` : ""}`;
  document.body.dataset.cursor = cursor.t.toFixed(6);
  document.body.dataset.event = event ? event.n : "";
}

function step(by) {
  const here = cursor.place === undefined ? model.shownAt(cursor.t) : lastUpTo(model.shown, cursor.place, (place) => place);
  const next = Math.min(Math.max(here + by, 0), model.shown.length - 1);
  if (model.shown.length) pick({ place: model.shown[next] });
}

// To the first violation: it and all that led to it in sight.
function toViolation() {
  if (!model.claim) return;
  showTab("claims");
  const times = [model.claim.at, ...model.causes].map((place) => place.t).filter((t) => t !== undefined);
  if (!times.length) return;
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const margin = Math.max((to - from) * 0.2, 0.05);
  view.show(from - margin, to + margin);
  pick(model.claim.at.t === undefined ? model.causes[model.causes.length - 1] : model.claim.at);
}

function toFault(by) {
  const begins = data.faults.map((fault) => fault.begin);
  const next = by > 0 ? begins.find((t) => t > cursor.t + 1e-9) : begins.filter((t) => t < cursor.t - 1e-9).pop();
  if (next !== undefined) pick({ n: data.faults[begins.indexOf(next)].n });
}

// -- tabs

function showTab(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const shown = tab.dataset.panel === name;
    tab.setAttribute("aria-selected", String(shown));
    tab.tabIndex = shown ? 0 : -1;
    document.getElementById(tab.dataset.panel).hidden = !shown;
  }
  consoles.follow(cursor.t);
}

for (const tab of document.querySelectorAll("[role=tab]")) {
  tab.addEventListener("click", () => showTab(tab.dataset.panel));
  tab.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.stopPropagation();
    const tabs = [...document.querySelectorAll("[role=tab]")];
    const next = tabs[(tabs.indexOf(tab) + by + tabs.length) % tabs.length];
    showTab(next.dataset.panel);
    next.focus();
  });
}

// -- filter

function filtered() {
  model.apply();
  timeline.arrange();
  list.refresh();
  const [shown, all] = [model.shown.length, model.events.length];
  one("#count").textContent = shown === all ? `${all.toLocaleString("en")} events` : `${shown.toLocaleString("en")} of ${all.toLocaleString("en")} events`;
  document.body.dataset.shown = shown;
}

for (const { id } of data.lanes.nodes) {
  const chip = element("button", "chip", `n${id}`);
  chip.type = "button";
  chip.setAttribute("aria-pressed", "true");
  // A click chooses one node alone, a second one all of them again; with Shift, Ctrl or ⌘ it adds or takes away.
  chip.addEventListener("click", (event) => {
    const { nodes } = model.filter;
    const all = data.lanes.nodes.map((node) => node.id);
    if (event.shiftKey || event.ctrlKey || event.metaKey) {
      if (!nodes.delete(id)) nodes.add(id);
    } else {
      const alone = nodes.size === 1 && nodes.has(id);
      model.filter.nodes = new Set(alone ? all : [id]);
    }
    if (!model.filter.nodes.size) model.filter.nodes = new Set(all);
    [...one("#nodes").children].forEach((other, place) => other.setAttribute("aria-pressed", String(model.filter.nodes.has(all[place]))));
    filtered();
  });
  one("#nodes").append(chip);
}

for (const [kind, count] of [...model.kinds].sort()) {
  const label = element("label", "kind");
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true, value: kind });
  label.append(box, element("span", "", kind), element("span", "count", count));
  one("#kinds").append(label);
}
const kindBoxes = () => [...document.querySelectorAll("#kinds input")];
function kindsChanged() {
  const chosen = kindBoxes().filter((box) => box.checked).map((box) => box.value);
  model.filter.kinds = chosen.length === model.kinds.size ? null : new Set(chosen);
  one("#kinds-menu summary").textContent = model.filter.kinds ? `${chosen.length} of ${model.kinds.size} kinds` : "all kinds";
  filtered();
}
one("#kinds").addEventListener("change", kindsChanged);
for (const [id, checked] of [["#kinds-all", true], ["#kinds-none", false]]) {
  one(id).addEventListener("click", () => {
    for (const box of kindBoxes()) box.checked = checked;
    kindsChanged();
  });
}
document.addEventListener("pointerdown", (event) => {
  if (!one("#kinds-menu").contains(event.target)) one("#kinds-menu").open = false;
});
one("#text").addEventListener("input", () => {
  model.filter.text = one("#text").value;
  filtered();
});

// -- buttons and keys

function toggle(name) {
  options[name] = !options[name];
  one(`#show-${name}`).setAttribute("aria-pressed", String(options[name]));
  timeline.arrange();
}

// The cursor runs through what is in sight in a quarter of a minute, or in as long as it took.
let playing = 0;
function play() {
  const button = one("#play");
  if (playing) {
    cancelAnimationFrame(playing);
    playing = 0;
    button.textContent = "▶";
    return;
  }
  button.textContent = "❚❚";
  if (cursor.t < view.t0 || cursor.t >= view.t1 - 1e-3) cursor.t = view.t0;
  let last = performance.now();
  const speed = view.length / Math.min(15, Math.max(view.length, 3));
  const frame = (now) => {
    cursor.t += ((now - last) / 1000) * speed;
    last = now;
    cursor.place = undefined;
    if (cursor.t >= view.t1) {
      cursor.t = view.t1;
      follow();
      play();
      return;
    }
    follow();
    playing = requestAnimationFrame(frame);
  };
  playing = requestAnimationFrame(frame);
}

const help = one("#help");
const actions = {
  "zoom-in": () => view.zoom(0.6, cursorInSight()),
  "zoom-out": () => view.zoom(1 / 0.6, cursorInSight()),
  fit: () => view.fit(),
  left: () => view.pan(-view.length * 0.15),
  right: () => view.pan(view.length * 0.15),
  "next-event": () => step(1),
  "previous-event": () => step(-1),
  "next-fault": () => toFault(1),
  "previous-fault": () => toFault(-1),
  violation: toViolation,
  "show-messages": () => toggle("messages"),
  "show-disk": () => toggle("disk"),
  "show-events": () => toggle("events"),
  theme: toggleTheme,
  play,
  search: () => one("#text").focus(),
  keys: () => help.showModal(),
};
const KEYS = {
  "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", 0: "fit", ArrowLeft: "left", ArrowRight: "right", j: "next-event", k: "previous-event",
  f: "next-fault", F: "previous-fault", v: "violation", m: "show-messages", d: "show-disk", e: "show-events", t: "theme", " ": "play",
  "/": "search", "?": "keys",
};

function cursorInSight() {
  return cursor.t >= view.t0 && cursor.t <= view.t1 ? cursor.t : undefined;
}

for (const name of Object.keys(actions)) {
  const button = document.getElementById(name);
  if (button) button.addEventListener("click", actions[name]);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.key === "Escape" && document.activeElement === one("#text")) {
    one("#text").value = "";
    one("#text").dispatchEvent(new Event("input"));
    one("#text").blur();
    return;
  }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox") return;
  if (event.key === " " && /^(BUTTON|SUMMARY|INPUT)$/.test(event.target.tagName)) return;
  const action = KEYS[event.key];
  if (!action) return;
  event.preventDefault();
  actions[action]();
});
themeListeners.push(() => {
  readColours();
  timeline.draw();
});

filtered();
showTab(model.claim ? "claims" : "moment");
pick({ place: 0 });
requestAnimationFrame(() => requestAnimationFrame(() => {
  document.body.dataset.ready = performance.now().toFixed(0);
}));
