// What stands beside the timeline: the moment at the cursor, the recoveries by stage, the claims.

class Moment {
  constructor(root, model) {
    this.model = model;
    this.root = root;
    this.grid = root.querySelector(".grid");
    this.about = root.querySelector(".about-moment");
    this.event = root.querySelector(".event");
    const { levels, nodes } = model.data.lanes;
    const head = this.grid.createTHead().insertRow();
    for (const [above, title] of [["", ""], ["", "machine"], ["", "node"], ...levels]) {
      const cell = head.appendChild(element("th", "", above));
      cell.append(document.createElement("br"), title);
      cell.scope = "col";
    }
    const body = this.grid.createTBody();
    this.cells = nodes.map((node) => {
      const row = body.insertRow();
      const name = row.appendChild(element("th", "", `n${node.id}`));
      name.scope = "row";
      return { node, name, cells: ["machine", "node", ...levels.map(([level]) => String(level))].map((lane) => [lane, row.insertCell()]) };
    });
  }

  // The grid of nodes and levels at time t; the event that is chosen, if one is.
  show(t, place) {
    const { data } = this.model;
    for (const { node, name, cells } of this.cells) {
      name.textContent = stateAt(node.masters, t) ? `n${node.id} ★` : `n${node.id}`;
      name.title = stateAt(node.masters, t) ? "the master" : "";
      for (const [lane, cell] of cells) {
        const state = stateAt(node.lanes[lane], t) || (lane === "machine" ? "off" : "inactive");
        cell.textContent = state === "inactive" ? "-" : state;
        cell.className = `state ${state.replace(/ /g, "-")}`;
      }
    }
    const forced = data.faults.filter((one) => one.begin <= t && t <= (one.end ?? data.end));
    const registered = data.services.filter((one) => one.begin <= t && t < (one.end ?? Infinity));
    const lines = [
      ...forced.map((one) => ["fault", `${one.node === undefined ? "all" : `n${one.node}`} ${one.kind} since ${seconds(one.begin)}`]),
      ...registered.map((one) => ["service", `${one.service}: ${one.lost ? "lost with" : `${one.state} on`} ${one.node === undefined ? "no node yet" : `n${one.node}`}`]),
    ];
    this.about.replaceChildren(element("h3", "", `At ${seconds(t)}`), ...lines.map(([kind, line]) => element("p", kind, line)));
    this.event.hidden = place === undefined;
    if (place === undefined) return;
    const event = this.model.events[place];
    const table = element("table", "fields");
    for (const [key, value] of Object.entries(event)) {
      const row = table.insertRow();
      row.appendChild(element("th", "", key)).scope = "row";
      row.insertCell().textContent = typeof value === "object" && value !== null ? JSON.stringify(value, null, 1) : String(value);
    }
    this.event.replaceChildren(element("h3", "", `Event ${event.n}: ${event.kind}`), table);
  }
}

// One bar per recovery; all on one scale.
function drawRecoveries(root, data, onPick) {
  if (!data.recoveries.length) return;
  root.replaceChildren();
  const key = root.appendChild(element("p", "key"));
  for (const stage of data.stages) {
    const swatch = key.appendChild(element("span", "swatch"));
    swatch.style.background = `var(--${stage})`;
    key.append(stage);
  }
  const longest = Math.max(...data.recoveries.map((one) => recoveryEnd(one) - one.begin), 1e-9);
  for (const one of data.recoveries) {
    const item = root.appendChild(element("button", "recovery"));
    item.type = "button";
    item.append(element("b", "", `n${one.victim}`), element("span", "why", `${one.why}, at ${seconds(one.begin)}`));
    item.append(element("span", "sum", `${duration(recoveryEnd(one) - one.begin)}${one.complete ? "" : " +"}`));
    const bar = item.appendChild(element("span", "bar"));
    const told = item.appendChild(element("span", "told"));
    let begin = one.begin;
    for (const stage of one.wanted) {
      if (!(stage in one.ends)) {
        told.append(element("span", "open", `${stage}: not over`));
        continue;
      }
      const part = bar.appendChild(element("span", "part"));
      part.style.background = `var(--${stage})`;
      part.style.width = `${((one.ends[stage] - begin) / longest) * 100}%`;
      part.title = `${stage} ${duration(one.ends[stage] - begin)}`;
      told.append(element("span", "", `${stage} ${duration(one.ends[stage] - begin)}`));
      begin = one.ends[stage];
    }
    if (one.services.length) item.append(element("span", "services", `services: ${one.services.join(", ")}`));
    item.addEventListener("click", () => onPick(one));
  }
}

function drawClaims(root, model, onPick) {
  for (const claim of model.data.claims) {
    const item = root.appendChild(element("details", `claim ${claim.outcome.replace(/ /g, "-")}`));
    item.open = claim.outcome === "violated";
    const head = item.appendChild(element("summary"));
    head.append(element("span", "outcome", claim.outcome), element("b", "", claim.name));
    item.append(element("p", "", claim.claim));
    if (claim.violation) item.append(element("p", "violation", claim.violation));
    if (claim.at.text) item.append(placeButton(claim.at, onPick));
    if (claim.causes.length) item.append(element("p", "led", "what led to it:"), causeList(claim.causes, onPick));
    if (claim.lacks.length) item.append(element("p", "", `lacks ${claim.lacks.join(", ")}`));
    if (claim.without.length) item.append(element("p", "", `judged without ${claim.without.join(", ")}`));
  }
}

function causeList(causes, onPick) {
  const list = element("ol", "causes");
  let number = 0;
  for (const cause of causes) {
    const item = list.appendChild(element("li", cause.t === undefined ? "unplaced" : ""));
    if (cause.t !== undefined) item.value = ++number;
    item.append(placeButton(cause, onPick));
  }
  return list;
}

function placeButton(place, onPick) {
  if (place.t === undefined) return element("span", "place", place.text);
  const button = element("button", "place", place.text);
  button.type = "button";
  button.addEventListener("click", () => onPick(place));
  return button;
}

