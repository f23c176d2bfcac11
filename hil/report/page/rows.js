// Which row is where: faults and recoveries on top, then each node with its levels, then the services.

const ROW = 17;
const THIN = 12;
const GAP = 9;

// Puts spans that overlap into rows of their own; the number of rows.
function stack(spans, endOfRun) {
  const ends = [];
  for (const span of spans) {
    let row = ends.findIndex((end) => end <= span.begin);
    if (row < 0) row = ends.length;
    ends[row] = span.end ?? endOfRun;
    span.row = row;
  }
  return ends.length;
}

function layOut(model, options) {
  const { data, filter } = model;
  const rows = [];
  const groups = new Map();
  let y = 6;
  const add = (row, height = ROW) => {
    rows.push({ ...row, y, height: height - 2 });
    y += height;
  };
  const faults = data.faults.filter((one) => one.node === undefined || filter.nodes.has(one.node));
  if (faults.length) {
    const count = stack(faults, data.end);
    for (let k = 0; k < count; k++) {
      add({ kind: "faults", label: k ? "" : "faults", spans: faults.filter((one) => one.row === k) });
    }
    y += GAP;
  }
  const recoveries = data.recoveries.map((one) => ({ ...one, end: recoveryEnd(one) }));
  if (recoveries.length) {
    const count = stack(recoveries, data.end);
    for (let k = 0; k < count; k++) {
      add({ kind: "recovery", label: k ? "" : "recovery", spans: recoveries.filter((one) => one.row === k) });
    }
    y += GAP;
  }
  for (const node of data.lanes.nodes) {
    if (!filter.nodes.has(node.id)) continue;
    const top = y;
    const common = { node: node.id, own: node };
    add({ ...common, kind: "machine", title: `n${node.id}`, label: "machine", lane: node.lanes.machine || [] });
    add({ ...common, kind: "lane", label: "node", lane: node.lanes.node || [], masters: true });
    for (const [level, name] of data.lanes.levels) {
      add({ ...common, kind: "lane", label: `${level} ${name}`, lane: node.lanes[level] || [], level });
    }
    if (options.events) add({ ...common, kind: "events", label: "events" }, THIN + 2);
    if (options.disk) add({ ...common, kind: "disk", label: "disk" }, THIN + 2);
    groups.set(node.id, { top: top - 3, bottom: y + 1, middle: top + ROW * 1.5 });
    y += GAP;
  }
  const names = [...new Set(data.services.map((one) => one.service))].sort();
  for (const name of names) {
    const spans = data.services.filter((one) => one.service === name);
    const nodes = [...new Set(spans.map((one) => one.node ?? -1))].sort((a, b) => a - b);
    nodes.forEach((node, place) => {
      const own = spans.filter((one) => (one.node ?? -1) === node);
      const row = { kind: "service", service: name, serviceNode: node, spans: own };
      add({ ...row, title: place ? "" : name, label: node < 0 ? "-" : `n${node}` }, THIN + 2);
    });
    y += 5;
  }
  return { rows, groups, height: y + 6 };
}

function recoveryEnd(one) {
  const ends = Object.values(one.ends);
  return Math.max(one.begin, ...ends);
}

