// The picture over the time: overview, axis and rows; moves by wheel, mouse, touch and keys.

class Timeline {
  constructor(root, model, view, { options, onPick }) {
    this.root = root;
    this.model = model;
    this.window = view;
    this.options = options;
    this.onPick = onPick || (() => {});
    this.cursorAt = null;
    this.gutter = 150;
    this.writesOf = new Map();
    for (const write of (model.data.disk || { writes: [] }).writes) {
      if (!this.writesOf.has(write[1])) this.writesOf.set(write[1], []);
      this.writesOf.get(write[1]).push(write);
    }
    const make = (name, parent, tag = "div") => parent.appendChild(Object.assign(document.createElement(tag), { className: name }));
    this.overview = make("overview", make("overview-strip", root), "canvas");
    this.axis = make("axis", root, "canvas");
    this.lanes = make("lanes", root);
    this.extent = make("extent", this.lanes);
    this.body = make("body", this.extent, "canvas");
    this.tip = make("tip", root);
    this.tip.hidden = true;
    this.lanes.tabIndex = 0;
    this.lanes.setAttribute("role", "application");
    this.lanes.setAttribute("aria-label", this.summary());
    view.listeners.push(() => this.draw());
    this.listen();
    this.arrange();
    new ResizeObserver(() => this.draw()).observe(this.lanes);
  }

  summary() {
    const { data } = this.model;
    const panics = data.lanes.nodes.reduce((sum, node) => sum + node.panics.length, 0);
    return `Timeline of ${data.lanes.nodes.length} nodes over ${duration(data.end - data.begin)}: ${data.faults.length} faults, ` +
      `${panics} panics, ${data.recoveries.length} recoveries. Arrows move, plus and minus zoom.`;
  }

  arrange() {
    this.layout = layOut(this.model, this.options);
    this.extent.style.height = `${this.layout.height}px`;
    this.draw();
  }

  draw() {
    if (this.due) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.drawNow();
    });
  }

  drawNow() {
    this.width = this.lanes.clientWidth;
    const height = this.lanes.clientHeight;
    if (!this.width || !height) return;
    this.gutter = this.width > 620 ? 150 : 118;
    const { rows, groups } = this.layout;
    const shown = rows.filter((row) => row.y + row.height > this.lanes.scrollTop - 2 && row.y < this.lanes.scrollTop + height);
    const total = Math.max(this.layout.height, height);
    const ctx = prepare(this.body, this.width, height);
    ctx.translate(0, -this.lanes.scrollTop);
    const drawing = new Drawing(ctx, this);
    drawing.labels(shown);
    drawing.clipped(() => {
      drawing.grid(total);
      for (const row of shown) {
        if (row.kind === "machine") drawing.lane(row);
        else drawing[row.kind](row);
      }
      drawing.serviceMoves(rows);
      drawing.faultShades(groups, total);
      if (this.options.messages) drawing.messages(groups, total);
      drawing.causes(rows, total);
      drawing.cursor(this.cursorAt, total);
    });
    this.drawAxis();
    this.drawOverview();
    this.root.dataset.t0 = this.window.t0.toFixed(6);
    this.root.dataset.t1 = this.window.t1.toFixed(6);
    this.root.dataset.drawn = String(Number(this.root.dataset.drawn || 0) + 1);
  }

  drawAxis() {
    const ctx = prepare(this.axis, this.width, 24);
    const drawing = new Drawing(ctx, this);
    const { step, at } = ticks(this.window.t0, this.window.t1, this.width - this.gutter);
    ctx.fillStyle = colours.faint;
    ctx.fillText(`${duration(this.window.length)} in sight`, 10, 12.5);
    ctx.textAlign = "center";
    for (const t of at) {
      const x = drawing.x(t);
      if (x < this.gutter + 16 || x > this.width - 22) continue;
      ctx.fillText(seconds(t, step), x, 11);
      ctx.fillRect(x - 0.5, 20, 1, 4);
    }
    if (this.cursorAt !== null) {
      const x = drawing.x(this.cursorAt);
      if (x < this.gutter || x > this.width) return;
      const text = seconds(this.cursorAt, Math.min(step / 10, 0.001));
      const width = ctx.measureText(text).width + 12;
      const left = Math.min(Math.max(x - width / 2, this.gutter), this.width - width - 2);
      ctx.fillStyle = colours.accent;
      ctx.beginPath();
      ctx.roundRect(left, 2, width, 18, 4);
      ctx.fill();
      ctx.fillStyle = colours.paper;
      ctx.fillText(text, left + width / 2, 11.5);
    }
  }

  // All of the run: the nodes' states as thin lines, faults, and what part of it is in sight.
  drawOverview() {
    const height = 52;
    const ctx = prepare(this.overview, this.width, height);
    const { data } = this.model;
    const whole = Object.create(this);
    whole.window = { t0: this.window.begin, t1: this.window.end, length: this.window.whole, begin: this.window.begin, end: this.window.end };
    const drawing = new Drawing(ctx, whole);
    this.overviewX = (t) => drawing.x(t);
    this.overviewT = (x) => this.window.begin + (x - this.gutter) / drawing.scale;
    const each = (height - 8) / data.lanes.nodes.length;
    drawing.clipped(() => {
      data.lanes.nodes.forEach((node, place) => {
        const strip = { y: 4 + place * each, height: Math.max(1, each - 1) };
        const lane = node.lanes.node || [];
        lane.forEach(([t, state], k) => {
          const to = k + 1 < lane.length ? lane[k + 1][0] : data.end;
          if (state !== "inactive") drawing.bar(strip, t, to, colours[state], "", { alpha: 0.75, least: 0.5 });
        });
        for (const [t] of node.panics) drawing.bar(strip, t, t, colours.alarm, "", { least: 3 });
      });
      for (const fault of data.faults) {
        drawing.bar({ y: 0, height }, fault.begin, fault.end ?? data.end, colours.alarm, "", { alpha: 0.16, least: 1.5 });
      }
      if (this.model.claim && this.model.claim.at.t !== undefined) {
        drawing.bar({ y: 0, height }, this.model.claim.at.t, this.model.claim.at.t, colours.alarm, "", { least: 2 });
      }
    });
    const [x0, x1] = [drawing.x(this.window.t0), drawing.x(this.window.t1)];
    ctx.fillStyle = colours.paper;
    ctx.globalAlpha = 0.6;
    ctx.fillRect(this.gutter, 0, x0 - this.gutter, height);
    ctx.fillRect(x1, 0, this.width - x1, height);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = colours.accent;
    ctx.lineWidth = 1.5;
    ctx.strokeRect(x0 + 0.75, 0.75, Math.max(x1 - x0 - 1.5, 2), height - 1.5);
    ctx.fillStyle = colours.faint;
    ctx.fillText("whole run", 10, 14);
    ctx.fillText(duration(data.end - data.begin), 10, 30);
  }

  t(x) { return this.window.t0 + ((x - this.gutter) / (this.width - this.gutter)) * this.window.length; }

  setCursor(t) {
    this.cursorAt = t;
    this.draw();
  }

  // What the mouse is over: texts for a tip, and the event that a click would choose.
  at(x, y) {
    const row = this.layout.rows.find((one) => y >= one.y - 1 && y < one.y + one.height + 2);
    const t = this.t(x);
    if (!row || x < this.gutter) return { row, t };
    const near = (5 * this.window.length) / (this.width - this.gutter);
    const found = { row, t };
    if (row.kind === "events") found.place = this.nearestEvent(row.node, t, near);
    if (row.kind === "machine") {
      const panic = row.own.panics.find(([at]) => Math.abs(at - t) <= near * 2);
      if (panic) found.place = this.model.byNumber.get(panic[1]);
    }
    if (row.spans) {
      const held = row.spans.filter((one) => one.begin - near <= t && t <= Math.max(one.end ?? this.model.data.end, one.begin + near));
      found.span = held[held.length - 1];
      if (found.span) found.place = this.model.byNumber.get(found.span.n);
    }
    if (row.kind === "disk") {
      const writes = this.writesOf.get(row.node) || [];
      const k = lastUpTo(writes, t + near, (one) => one[0]);
      if (k >= 0 && t - writes[k][0] <= near) found.write = writes[k];
    }
    return found;
  }

  nearestEvent(node, t, near) {
    const places = this.model.shownOf.get(node) || [];
    const k = lastUpTo(places, t, (place) => this.model.events[place].t);
    const both = [places[k], places[k + 1]].filter((place) => place !== undefined);
    const off = (place) => Math.abs(this.model.events[place].t - t);
    both.sort((a, b) => off(a) - off(b));
    return both.length && off(both[0]) <= near ? both[0] : undefined;
  }

  showTip(event) {
    const box = this.lanes.getBoundingClientRect();
    const lines = tipLines(this.model, this.at(event.clientX - box.left, event.clientY - box.top + this.lanes.scrollTop));
    this.tip.hidden = !lines.length;
    if (!lines.length) return;
    this.tip.replaceChildren(...lines.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    const root = this.root.getBoundingClientRect();
    const [width, height] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const x = Math.min(event.clientX - root.left + 14, root.width - width - 6);
    const below = event.clientY - root.top + 16;
    this.tip.style.left = `${Math.max(4, x)}px`;
    this.tip.style.top = `${below + height > root.height ? Math.max(4, below - height - 28) : below}px`;
  }

  listen() {
    const { lanes } = this;
    const within = (event) => event.clientX - lanes.getBoundingClientRect().left;
    lanes.addEventListener("scroll", () => this.draw(), { passive: true });
    const wheel = (event, zooms) => {
      const unit = event.deltaMode === 1 ? 16 : 1;
      if (event.ctrlKey || event.metaKey || event.altKey || zooms) {
        event.preventDefault();
        const by = (event.deltaY || event.deltaX) * unit;
        this.window.zoom(Math.exp(Math.min(Math.max(by, -240), 240) * 0.003), this.t(Math.max(within(event), this.gutter)));
      } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        event.preventDefault();
        this.window.pan(((event.deltaX || event.deltaY) * unit * this.window.length) / (this.width - this.gutter));
      }
    };
    lanes.addEventListener("wheel", (event) => wheel(event, false), { passive: false });
    this.axis.addEventListener("wheel", (event) => wheel(event, true), { passive: false });
    this.overview.addEventListener("wheel", (event) => wheel(event, true), { passive: false });
    this.drag(lanes, within);
    this.dragOverview(within);
    this.axis.addEventListener("pointerdown", (event) => this.onPick({ t: this.t(within(event)) }));
    lanes.addEventListener("pointermove", (event) => event.buttons || this.showTip(event));
    lanes.addEventListener("pointerleave", () => { this.tip.hidden = true; });
    lanes.addEventListener("dblclick", (event) => this.window.zoom(0.35, this.t(within(event))));
  }

  // A drag moves; a press that does not move picks.
  drag(lanes, within) {
    let from = null;
    lanes.addEventListener("pointerdown", (event) => {
      if (event.button || within(event) > lanes.clientWidth) return;
      from = { x: event.clientX, y: event.clientY, t0: this.window.t0, t1: this.window.t1, top: lanes.scrollTop, moved: false };
    });
    lanes.addEventListener("pointermove", (event) => {
      if (!from || !event.buttons) return;
      const by = event.clientX - from.x;
      if (Math.abs(by) + Math.abs(event.clientY - from.y) > 4 && !from.moved) {
        from.moved = true;
        lanes.setPointerCapture(event.pointerId);
        this.tip.hidden = true;
      }
      if (!from.moved) return;
      const seconds = (by * (from.t1 - from.t0)) / (this.width - this.gutter);
      this.window.show(from.t0 - seconds, from.t1 - seconds);
      if (event.pointerType === "mouse") lanes.scrollTop = from.top - (event.clientY - from.y);
    });
    lanes.addEventListener("pointerup", (event) => {
      if (from && !from.moved && within(event) >= this.gutter) {
        const box = lanes.getBoundingClientRect();
        this.onPick(this.at(event.clientX - box.left, event.clientY - box.top + lanes.scrollTop));
      }
      from = null;
    });
  }

  // In the overview: drag the window; outside of it a press puts it there.
  dragOverview(within) {
    let grip = null;
    this.overview.addEventListener("pointerdown", (event) => {
      const t = this.overviewT(within(event));
      if (t < this.window.t0 || t > this.window.t1) this.window.show(t - this.window.length / 2, t + this.window.length / 2);
      grip = t - this.window.t0;
      this.overview.setPointerCapture(event.pointerId);
    });
    this.overview.addEventListener("pointermove", (event) => {
      if (grip === null || !event.buttons) return;
      const t0 = this.overviewT(within(event)) - grip;
      this.window.show(t0, t0 + this.window.length);
    });
    this.overview.addEventListener("pointerup", () => { grip = null; });
  }
}

