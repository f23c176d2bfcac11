// Two runs under each other, on one axis: both at 0 when the first fault begins.

const data = await readData();
const one = (selector) => document.querySelector(selector);
readColours();
const view = new TimeWindow(Math.min(...data.runs.map((run) => run.begin)), Math.max(...data.runs.map((run) => run.end)));
const timelines = data.runs.map((run, place) => {
  const model = new Model(run);
  const root = one(`#timeline-${place}`);
  root.style.height = `${Math.min(layOut(model, {}).height + 96, 560)}px`;
  return new Timeline(root, model, view, {
    options: { events: false, disk: false, messages: false },
    onPick: ({ t }) => choose(t),
  });
});

function choose(t) {
  view.reveal(t);
  for (const timeline of timelines) timeline.setCursor(t);
  document.body.dataset.cursor = t.toFixed(6);
}

const actions = {
  "zoom-in": () => view.zoom(0.6),
  "zoom-out": () => view.zoom(1 / 0.6),
  fit: () => view.fit(),
  left: () => view.pan(-view.length * 0.15),
  right: () => view.pan(view.length * 0.15),
  theme: toggleTheme,
};
const KEYS = { "+": "zoom-in", "=": "zoom-in", "-": "zoom-out", 0: "fit", ArrowLeft: "left", ArrowRight: "right", t: "theme" };
for (const name of Object.keys(actions)) document.getElementById(name).addEventListener("click", actions[name]);
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  actions[KEYS[event.key]]();
});
for (const button of document.querySelectorAll("[data-t]")) {
  button.addEventListener("click", () => {
    const t = Number(button.dataset.t);
    view.show(t - Math.min(1, view.whole / 8), t + Math.min(1, view.whole / 8));
    choose(t);
    one("#timeline-0").scrollIntoView({ block: "nearest" });
  });
}
themeListeners.push(() => {
  readColours();
  for (const timeline of timelines) timeline.draw();
});
choose(0);
requestAnimationFrame(() => requestAnimationFrame(() => { document.body.dataset.ready = performance.now().toFixed(0); }));
