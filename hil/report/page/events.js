// A list of any length of which only what is in sight is in the document.

class LongList {
  constructor(root, { height, render, onPick }) {
    this.root = root;
    this.height = height;
    this.render = render;
    this.count = 0;
    this.extent = root.appendChild(Object.assign(document.createElement("div"), { className: "extent" }));
    root.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(root);
    this.extent.addEventListener("click", (event) => {
      const row = event.target.closest("[data-place]");
      if (row && onPick && !String(getSelection())) onPick(Number(row.dataset.place));
    });
  }

  fill(count) {
    this.count = count;
    this.extent.style.height = `${count * this.height}px`;
    this.draw();
  }

  draw() {
    const first = Math.max(0, Math.floor(this.root.scrollTop / this.height) - 4);
    const last = Math.min(this.count, Math.ceil((this.root.scrollTop + this.root.clientHeight) / this.height) + 4);
    const rows = [];
    for (let place = first; place < last; place++) {
      const row = document.createElement("div");
      row.className = "row";
      row.dataset.place = place;
      row.style.top = `${place * this.height}px`;
      this.render(place, row);
      rows.push(row);
    }
    this.extent.replaceChildren(...rows);
  }

  reveal(place, share = 0.4) {
    const top = place * this.height;
    if (top < this.root.scrollTop || top > this.root.scrollTop + this.root.clientHeight - this.height) {
      this.root.scrollTop = top - this.root.clientHeight * share;
    }
    this.draw();
  }
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class EventList {
  constructor(root, model, onPick) {
    this.model = model;
    this.chosen = -1;
    this.led = new Set(model.causes.map((cause) => cause.n));
    this.list = new LongList(root, {
      height: 22,
      render: (place, row) => this.row(place, row),
      onPick: (place) => onPick({ place: model.shown[place] }),
    });
    this.list.fill(model.shown.length);
  }

  row(place, row) {
    const number = this.model.shown[place];
    const event = this.model.events[number];
    row.classList.toggle("chosen", number === this.chosen);
    row.classList.toggle("loud", LOUD.has(event.kind));
    row.classList.toggle("cause", this.led.has(event.n));
    row.classList.toggle("violation", Boolean(this.model.claim) && this.model.claim.at.n === event.n);
    row.append(
      element("span", "n", event.n),
      element("span", "t", event.t.toFixed(3)),
      element("span", "who", typeof event.node === "number" ? `n${event.node}` : ""),
      element("span", "kind", event.kind),
      element("span", "fields", this.model.text(number)),
    );
    row.title = this.model.text(number).slice(0, 600);
  }

  refresh() {
    this.list.root.scrollTop = 0;
    this.list.fill(this.model.shown.length);
  }

  // `place` among all events.
  choose(place) {
    this.chosen = place;
    const shown = lastUpTo(this.model.shown, place, (one) => one);
    if (shown >= 0) this.list.reveal(shown);
    else this.list.draw();
  }
}

