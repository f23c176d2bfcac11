// The consoles, at the same moment as the timeline.

class Consoles {
  constructor(root, data) {
    this.consoles = data.consoles;
    this.node = Math.max(0, data.consoles.findIndex((one) => one.lines.length));
    this.t = null;
    this.tabs = root.querySelector(".console-tabs");
    this.screen = root.querySelector(".console");
    this.none = root.querySelector(".none");
    this.list = new LongList(this.screen, { height: 17, render: (place, row) => this.row(place, row) });
    for (const one of data.consoles) {
      const tab = element("button", "chip", `n${one.node}`);
      tab.type = "button";
      tab.addEventListener("click", () => this.show(one.node));
      this.tabs.append(tab);
    }
    this.show(this.node);
  }

  get lines() { return this.consoles[this.node].lines; }

  show(node) {
    this.node = node;
    [...this.tabs.children].forEach((tab, place) => tab.setAttribute("aria-pressed", String(place === node)));
    this.none.hidden = this.lines.length > 0;
    this.screen.hidden = !this.lines.length;
    const longest = this.lines.reduce((most, line) => Math.max(most, line[1].length), 0);
    this.list.extent.style.minWidth = `${Math.min(longest, 400) + 12}ch`;
    this.list.fill(this.lines.length);
    this.follow(this.t);
  }

  // The last line that was there at time t.
  follow(t) {
    this.t = t;
    this.here = t === null ? -1 : lastUpTo(this.lines, t, (line) => line[0] ?? -Infinity);
    if (this.lines.length && this.lines[0][0] === null) this.here = -1;
    if (this.here >= 0) this.list.reveal(this.here, 0.6);
    else this.list.draw();
  }

  row(place, row) {
    const [t, text] = this.lines[place];
    row.classList.toggle("here", place === this.here);
    row.classList.toggle("later", this.here >= 0 && place > this.here);
    row.classList.toggle("loud", /panic/i.test(text));
    row.append(element("span", "t", t === null ? "" : t.toFixed(2)), element("span", "text", text));
  }
}

