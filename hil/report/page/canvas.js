// A canvas of a part of the time: bars, texts, the grid, the names of the rows.

const FONT = '11px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
const BOLD = `600 ${FONT}`;

// A canvas as sharp as the screen; its context in CSS pixels.
function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  const ctx = canvas.getContext("2d");
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  ctx.font = FONT;
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  return ctx;
}

class Canvas {
  constructor(ctx, timeline) {
    this.ctx = ctx;
    this.timeline = timeline;
    this.model = timeline.model;
    this.view = timeline.window;
    this.left = timeline.gutter;
    this.right = timeline.width;
    this.scale = (this.right - this.left) / this.view.length;
  }

  x(t) { return this.left + (t - this.view.t0) * this.scale; }

  clipped(draw) {
    const { ctx } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(this.left, -10, this.right - this.left, 1e6);
    ctx.clip();
    draw();
    ctx.restore();
  }

  // Of several texts the first one that fits; else the last one, as far as it does.
  text(text, x, y, width, colour) {
    const { ctx } = this;
    if (width < 14) return;
    const texts = [text].flat();
    let shown = texts.find((one) => ctx.measureText(one).width <= width) ?? texts[texts.length - 1];
    if (ctx.measureText(shown).width > width) {
      while (shown.length > 1 && ctx.measureText(`${shown}…`).width > width) shown = shown.slice(0, -1);
      if (shown.length < 4) return;
      shown += "…";
    }
    ctx.fillStyle = colour;
    ctx.fillText(shown, x, y);
  }

  bar(row, from, to, style, label, options = {}) {
    const { ctx } = this;
    const x0 = Math.max(this.x(from), this.left - 4);
    const x1 = Math.min(this.x(to), this.right + 4);
    if (x1 < this.left || x0 > this.right) return;
    const width = Math.max(x1 - x0, options.least ?? 1);
    ctx.globalAlpha = options.alpha ?? 1;
    ctx.fillStyle = style;
    ctx.fillRect(x0, row.y, width, row.height);
    ctx.globalAlpha = 1;
    if (label) {
      const begin = Math.max(x0, this.left) + 5;
      this.text(label, begin, row.y + row.height / 2 + 0.5, Math.min(x1, this.right) - begin - 4, options.ink ?? colours["on-state"]);
    }
  }

  grid(height) {
    const { ctx } = this;
    ctx.strokeStyle = colours.line;
    ctx.lineWidth = 1;
    ctx.beginPath();
    for (const t of ticks(this.view.t0, this.view.t1, this.right - this.left).at) {
      const x = Math.round(this.x(t)) + 0.5;
      if (x < this.left) continue;
      ctx.moveTo(x, 0);
      ctx.lineTo(x, height);
    }
    ctx.stroke();
  }

  labels(rows) {
    const { ctx } = this;
    ctx.textAlign = "right";
    for (const row of rows) {
      const y = row.y + row.height / 2 + 0.5;
      ctx.font = FONT;
      ctx.fillStyle = colours.faint;
      if (row.label) ctx.fillText(row.label, this.left - 8, y);
      if (row.title) {
        ctx.font = BOLD;
        ctx.textAlign = "left";
        this.text(row.title, 10, y, this.left - 26 - ctx.measureText(row.label || "").width, colours.ink);
        ctx.textAlign = "right";
      }
    }
    ctx.textAlign = "left";
    ctx.font = FONT;
  }

  cursor(t, height) {
    if (t === null) return;
    const x = this.x(t);
    if (x < this.left || x > this.right) return;
    this.ctx.fillStyle = colours.accent;
    this.ctx.fillRect(x - 0.75, 0, 1.5, height);
  }
}

