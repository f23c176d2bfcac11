// Draws the rows. What is narrower than a pixel is drawn once per pixel, so that fifty thousand events cost no more than
// the screen is wide.

class Drawing extends Canvas {
  // A lane of states: changes that fall into one pixel are one bar, of the last of them.
  lane(row) {
    const { lane } = row;
    const end = this.model.data.end;
    const first = Math.max(0, lastUpTo(lane, this.view.t0, (change) => change[0]));
    const machine = row.kind === "machine";
    for (let k = first; k < lane.length && lane[k][0] <= this.view.t1; k++) {
      const state = lane[k][1];
      const to = k + 1 < lane.length ? lane[k + 1][0] : end;
      if (k + 1 < lane.length && this.x(to) - this.x(lane[k][0]) < 0.35 && Math.floor(this.x(to)) === Math.floor(this.x(lane[k][0]))) continue;
      if (state === "inactive" || state === "off") {
        this.bar({ y: row.y + row.height / 2 - 1, height: 2 }, lane[k][0], to, colours.inactive);
        continue;
      }
      const master = row.masters && stateAt(row.own.masters, Math.max(lane[k][0], this.view.t0));
      this.bar(row, lane[k][0], to, fill(state), master ? [`${state}, master`, state] : state, machine ? { ink: state === "running" ? colours.ink : colours["on-state"] } : {});
    }
    if (!machine && row.level !== undefined) this.shadow(row);
    if (row.masters) this.masters(row);
    if (machine) for (const [t, , reason] of row.own.panics) this.panic(row, t, reason);
  }

  // What the cluster says of a node whose machine is gone, and that it has not noticed yet.
  shadow(row) {
    const machine = row.own.lanes.machine || [];
    for (let k = 0; k < machine.length; k++) {
      if (machine[k][1] === "running" || machine[k][1] === "paused") continue;
      const to = k + 1 < machine.length ? machine[k + 1][0] : this.model.data.end;
      if (machine[k][0] > this.view.t1 || to < this.view.t0) continue;
      this.bar(row, machine[k][0], to, colours.paper, "", { alpha: 0.45, least: 0 });
    }
  }

  masters(row) {
    const { masters } = row.own;
    for (let k = 0; k < masters.length; k++) {
      if (!masters[k][1]) continue;
      const to = k + 1 < masters.length ? masters[k + 1][0] : this.model.data.end;
      this.bar({ y: row.y + row.height - 3, height: 3 }, masters[k][0], to, colours.master);
    }
  }

  panic(row, t, reason) {
    const { ctx } = this;
    const x = this.x(t);
    if (x < this.left - 8 || x > this.right + 8) return;
    const y = row.y + row.height / 2;
    ctx.fillStyle = colours.alarm;
    ctx.beginPath();
    ctx.moveTo(x, y - 9);
    ctx.lineTo(x + 7, y);
    ctx.lineTo(x, y + 9);
    ctx.lineTo(x - 7, y);
    ctx.closePath();
    ctx.fill();
    ctx.strokeStyle = colours.paper;
    ctx.lineWidth = 1.5;
    ctx.stroke();
    ctx.fillStyle = colours.paper;
    ctx.fillRect(x - 0.9, y - 5, 1.8, 6);
    ctx.fillRect(x - 0.9, y + 2.4, 1.8, 1.8);
  }

  faults(row) {
    const end = this.model.data.end;
    for (const span of row.spans) {
      const whom = span.node === undefined ? "all" : `n${span.node}`;
      this.bar(row, span.begin, span.end ?? end, colours.alarm, "", { alpha: 0.22, least: 3 });
      this.bar({ y: row.y, height: row.height }, span.begin, span.begin, colours.alarm, "", { least: 3 });
      const from = Math.max(this.x(span.begin), this.left) + 7;
      const next = row.spans.find((other) => other.begin > span.begin);
      this.text(`${whom} ${span.kind}`, from, row.y + row.height / 2 + 0.5, (next ? this.x(next.begin) : this.right) - from - 4, colours.ink);
    }
  }

  // Faults lie over the rows of the node that they are about.
  faultShades(groups, height) {
    const { ctx } = this;
    const end = this.model.data.end;
    for (const span of this.model.data.faults) {
      const group = span.node === undefined ? { top: 0, bottom: height } : groups.get(span.node);
      if (!group) continue;
      const x0 = Math.max(this.x(span.begin), this.left);
      const x1 = Math.min(this.x(span.end ?? end), this.right);
      if (x1 < this.left || x0 > this.right) continue;
      ctx.fillStyle = colours.alarm;
      ctx.globalAlpha = 0.1;
      ctx.fillRect(x0, group.top, Math.max(x1 - x0, 1), group.bottom - group.top);
      ctx.globalAlpha = 0.55;
      ctx.fillRect(x0 - 0.5, group.top, 1, group.bottom - group.top);
      if (span.end !== undefined) ctx.fillRect(x1 - 0.5, group.top, 1, group.bottom - group.top);
      ctx.globalAlpha = 1;
    }
  }

  recovery(row) {
    for (const span of row.spans) {
      let begin = span.begin;
      for (const stage of this.model.data.stages) {
        if (!(stage in span.ends)) continue;
        this.bar(row, begin, span.ends[stage], colours[stage], [`${stage} ${duration(span.ends[stage] - begin)}`, stage]);
        begin = span.ends[stage];
      }
      const from = Math.max(this.x(begin), this.left) + 5;
      const next = row.spans.find((other) => other.begin > span.begin);
      const sum = `${duration(begin - span.begin)}${span.complete ? "" : ", not over"}`;
      const what = [`n${span.victim}: ${sum}`, sum];
      this.text(what, from, row.y + row.height / 2 + 0.5, (next ? this.x(next.begin) : this.right) - from - 4, colours.ink);
    }
  }

  // One tick per pixel; what is loud wins its pixel.
  events(row) {
    const { ctx, model } = this;
    const places = model.shownOf.get(row.node) || [];
    const first = Math.max(0, lastUpTo(places, this.view.t0, (place) => model.events[place].t));
    const counts = new Map();
    for (let k = first; k < places.length; k++) {
      const event = model.events[places[k]];
      if (event.t > this.view.t1) break;
      const x = Math.round(this.x(event.t));
      const seen = counts.get(x) || [0, false];
      counts.set(x, [seen[0] + 1, seen[1] || LOUD.has(event.kind)]);
    }
    for (const [x, [count, loud]] of counts) {
      const height = loud ? row.height : Math.min(row.height, 4 + Math.log2(count) * 2);
      ctx.fillStyle = loud ? colours.alarm : colours.accent;
      ctx.fillRect(x - 0.5, row.y + row.height - height, 1.3, height);
    }
  }

  disk(row) {
    const { ctx } = this;
    const { what } = this.model.data.disk;
    const refused = what.indexOf("refused");
    const writes = this.timeline.writesOf.get(row.node) || [];
    const first = Math.max(0, lastUpTo(writes, this.view.t0, (one) => one[0]));
    const ticksAt = new Map();
    for (let k = first; k < writes.length && writes[k][0] <= this.view.t1; k++) {
      const x = Math.round(this.x(writes[k][0]));
      ticksAt.set(x, Math.max(ticksAt.get(x) ?? 0, writes[k][2]));
    }
    for (const [x, kind] of ticksAt) {
      ctx.fillStyle = colours[what[kind]];
      const height = kind === 0 ? row.height / 2 : row.height;
      ctx.fillRect(x - 0.6, row.y + row.height - height, kind === refused ? 2.6 : 1.4, height);
    }
  }

  service(row) {
    const end = this.model.data.end;
    this.bar({ y: row.y + row.height / 2 - 0.5, height: 1 }, this.view.begin, this.view.end, colours.line);
    for (const span of row.spans) {
      const state = span.lost ? "lost" : span.state;
      this.bar(row, span.begin, span.end ?? end, fill(state), state, { least: 2 });
    }
  }

  // From where a service was to where it is next.
  serviceMoves(rows) {
    const { ctx } = this;
    const own = rows.filter((row) => row.kind === "service");
    for (const name of new Set(own.map((row) => row.service))) {
      const placed = own.filter((row) => row.service === name).flatMap((row) => row.spans.map((span) => ({ span, row })));
      placed.sort((a, b) => a.span.begin - b.span.begin);
      ctx.strokeStyle = colours.ink;
      ctx.globalAlpha = 0.6;
      ctx.lineWidth = 1.2;
      for (let k = 1; k < placed.length; k++) {
        const [before, after] = [placed[k - 1], placed[k]];
        if (before.row === after.row || before.span.end === undefined) continue;
        const [x0, x1] = [this.x(before.span.end), this.x(after.span.begin)];
        if (x1 < this.left || x0 > this.right) continue;
        const [y0, y1] = [before.row.y + before.row.height / 2, after.row.y + after.row.height / 2];
        const bend = Math.max(6, (x1 - x0) / 2);
        ctx.beginPath();
        ctx.moveTo(x0, y0);
        ctx.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1, y1);
        ctx.stroke();
      }
      ctx.globalAlpha = 1;
    }
  }

  messages(groups, height) {
    const { ctx } = this;
    const all = this.model.data.messages;
    const seen = new Set();
    ctx.globalAlpha = 0.7;
    const first = Math.max(0, lastUpTo(all, this.view.t0, (one) => one[0]));
    ctx.lineWidth = 1;
    for (let k = first; k < all.length && all[k][0] <= this.view.t1; k++) {
      const [t, sender, receiver, what] = all[k];
      const to = groups.get(receiver);
      const from = sender === null ? { middle: 0 } : groups.get(sender);
      if (!to || !from) continue;
      const x = Math.round(this.x(t)) + 0.5;
      const key = `${x}:${sender}:${receiver}:${what}`;
      if (seen.has(key)) continue;
      seen.add(key);
      const [y0, y1] = [from.middle, to.middle];
      const tip = y1 > y0 ? -1 : 1;
      ctx.strokeStyle = ctx.fillStyle = colours[what];
      ctx.setLineDash(what === "silence" ? [2, 3] : []);
      ctx.beginPath();
      ctx.moveTo(x, y0);
      ctx.lineTo(x, y1);
      ctx.stroke();
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, y1);
      ctx.lineTo(x - 3, y1 + tip * 6);
      ctx.lineTo(x + 3, y1 + tip * 6);
      ctx.fill();
      ctx.fillRect(x - 1.5, y0 - 1.5, 3, 3);
    }
    ctx.globalAlpha = 1;
  }

  // The first violation, and what led to it, numbered.
  causes(rows, height) {
    const { claim, causes } = this.model;
    if (!claim || claim.at.t === undefined) return;
    const { ctx } = this;
    const x = this.x(claim.at.t);
    ctx.fillStyle = colours.alarm;
    if (x >= this.left && x <= this.right) ctx.fillRect(x - 1, 0, 2, height);
    causes.forEach((cause, place) => {
      const row = rows.find((one) => one.node === cause.node && one.kind === "lane");
      const at = this.x(cause.t);
      if (!row || at < this.left || at > this.right) return;
      const y = row.y + row.height / 2;
      ctx.fillStyle = colours.paper;
      ctx.strokeStyle = colours.alarm;
      ctx.lineWidth = 1.6;
      ctx.beginPath();
      ctx.arc(at, y, 8, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
      ctx.fillStyle = colours.alarm;
      ctx.textAlign = "center";
      ctx.font = BOLD;
      ctx.fillText(String(place + 1), at, y + 0.5);
      ctx.font = FONT;
      ctx.textAlign = "left";
    });
  }
}

