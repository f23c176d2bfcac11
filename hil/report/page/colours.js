// Colours are the style sheet's, so that there is one place for light and dark. States differ by pattern, too: who does not
// see the colours apart sees the stripes.

const COLOUR_NAMES = [
  "ink", "faint", "line", "paper", "raised", "accent", "alarm", "warn", "master",
  "inactive", "joining", "joined", "leaving", "forced-leaving", "on-state",
  "off", "booting", "running", "paused", "crashed",
  "detect", "elect", "fence", "recover", "launch",
  "starting", "registered", "stopping", "recovering", "lost",
  "heartbeat", "membership", "volumes", "data", "reservation", "refused",
  "step", "acknowledgement", "silence", "gasp", "order",
];
const STRIPES = { joining: 1, starting: 1, booting: 1, leaving: -1, stopping: -1, "forced-leaving": 2, recovering: 2, lost: 2 };

const colours = {};
const patterns = {};

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of COLOUR_NAMES) colours[name] = style.getPropertyValue(`--${name}`).trim();
  colours["guestd ended"] = colours.crashed;
  for (const name of Object.keys(STRIPES)) patterns[name] = stripes(colours[name], STRIPES[name]);
}

// 1: rising stripes, -1: falling ones, 2: both.
function stripes(colour, direction) {
  const size = 8;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size;
  const ctx = tile.getContext("2d");
  ctx.fillStyle = colour;
  ctx.fillRect(0, 0, size, size);
  ctx.strokeStyle = colours.paper;
  ctx.globalAlpha = 0.38;
  ctx.lineWidth = 1.6;
  ctx.beginPath();
  for (let x = -size; x <= 2 * size; x += size) {
    if (direction > 0) { ctx.moveTo(x, size); ctx.lineTo(x + size, 0); }
    if (direction < 0 || direction === 2) { ctx.moveTo(x, 0); ctx.lineTo(x + size, size); }
  }
  ctx.stroke();
  return ctx.createPattern(tile, "repeat");
}

const fill = (state) => patterns[state] || colours[state] || colours.inactive;

