// What a tip says of what the mouse is over.

function tipLines(model, { row, t, place, span, write }) {
  if (!row) return [];
  if (row.kind === "faults" && span) {
    const about = Object.entries(span.about || {}).map(([key, value]) => `${key} ${short(value)}`);
    const struck = span.struck === undefined ? [] : [`struck ${span.struck}`];
    return [`${span.node === undefined ? "all nodes" : `node ${span.node}`}: ${span.kind}`, ...spanLine(model, span), ...about, ...struck];
  }
  if (row.kind === "recovery" && span) {
    let begin = span.begin;
    const stages = Object.entries(span.ends).map(([stage, end]) => {
      const line = `${stage} ${duration(end - begin)}`;
      begin = end;
      return line;
    });
    return [`recovery after node ${span.victim} (${span.why}), epoch ${span.epoch}`, ...stages, `in all ${duration(span.end - span.begin)}`];
  }
  if (row.kind === "service" && span) {
    const where = span.node === undefined ? "no node yet" : `node ${span.node}`;
    return [`${span.service}: ${span.lost ? "lost with" : `${span.state} on`} ${where}`, span.why || "", ...spanLine(model, span)].filter(Boolean);
  }
  if (write) {
    const extent = write[4] === null ? "" : ` LBA ${write[4]}+${write[5]}`;
    return [`command ${write[3]}: ${write[6]}${extent}`, model.data.disk.what[write[2]], ...(write[7] ? [write[7]] : []), seconds(write[0])];
  }
  if (place !== undefined) {
    const event = model.events[place];
    return event ? [`${event.n} ${event.kind}`, model.text(place).slice(0, 240), seconds(event.t)] : [];
  }
  if (row.lane) {
    const k = lastUpTo(row.lane, t, (change) => change[0]);
    if (k < 0) return [];
    const to = k + 1 < row.lane.length ? row.lane[k + 1][0] : model.data.end;
    return [`node ${row.node}, ${row.label}: ${row.lane[k][1]}`, ...spanLine(model, { begin: row.lane[k][0], end: to })];
  }
  return [];
}

function spanLine(model, { begin, end }) {
  const to = end ?? model.data.end;
  return [`${seconds(begin)} to ${end === undefined ? "the end" : seconds(end)}, ${duration(to - begin)}`];
}

