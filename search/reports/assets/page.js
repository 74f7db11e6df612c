// The report's page: a cursor over the curves (pointer and arrow keys), runs switched on and off, tables sorted,
// commands copied. The page says everything without it.
"use strict";

const every = (selector, root = document) => [...root.querySelectorAll(selector)];
const data = JSON.parse(document.getElementById("data").textContent);

function said(section, run, at, regret) {
  // What one run had after `at` evaluations, as text; null where it has no value.
  let step = null;
  if (at <= run.last) for (const s of run.steps) { if (s[0] > at) break; step = s; }
  if (!step || !step[4]) return null;
  const tiny = 1e-9 * Math.max(1, Math.abs(section.optimum));
  const distance = (v) => (!regret ? v : Math.abs(section.optimum - v) > tiny ? Math.abs(section.optimum - v) : 0);
  const text = (v) => (regret && v !== 0 ? Number(v.toPrecision(3)).toString() : regret ? "0" : v.toFixed(section.digits));
  const [low, high] = [step[2], step[3]].map(distance).sort((a, b) => a - b);
  const interval = low === high ? "" : ` [${text(low)}, ${text(high)}]`;
  const fewer = step[4] < run.seeds ? ` (${step[4]} of ${run.seeds} seeds)` : "";
  return { order: distance(step[1]) * (regret || section.lower ? 1 : -1), text: text(distance(step[1])) + interval + fewer };
}

function show(plot, head, rows, x, y) {
  // Fills the box beside the cursor; x, y: the cursor inside the plot, in pixels.
  const tip = plot.querySelector(".tip");
  tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: head }));
  for (const [colour, text] of rows) {
    const line = document.createElement("span");
    if (colour !== null) line.append(Object.assign(document.createElement("i"), { className: `c${colour}` }));
    line.append(Object.assign(document.createElement("span"), { textContent: text }));
    tip.append(line);
  }
  tip.hidden = false;
  const left = x + 14 + tip.offsetWidth < plot.clientWidth ? x + 14 : Math.max(4, x - tip.offsetWidth - 14);
  const top = Math.max(4, Math.min(y - tip.offsetHeight / 2, plot.clientHeight - tip.offsetHeight - 4));
  Object.assign(tip.style, { left: `${left}px`, top: `${top}px` });
}

function hide(plot) {
  plot.querySelector(".tip").hidden = plot.querySelector(".cursor").hidden = true;
}

function curves(plot, area) {
  const section = data[plot.closest("[data-section]").dataset.section];
  const regret = area.dataset.plot === "regret";
  const last = Number(area.getAttribute("aria-valuemax"));
  let at = last;
  function read() {
    // Says what stands at the cursor, to the screen reader too; returns the head and the rows of the box.
    const off = new Set(every(".run.off", area).map((g) => Number(g.dataset.run)));
    const rows = section.runs
      .map((run, i) => [run, off.has(i) ? null : said(section, run, at, regret)])
      .filter(([, s]) => s).sort((a, b) => a[1].order - b[1].order)
      .map(([run, s]) => [run.colour, `${run.name}: ${s.text}`]);
    const head = `after ${at} evaluation${at === 1 ? "" : "s"}`;
    area.setAttribute("aria-valuenow", at);
    area.setAttribute("aria-valuetext", [head, ...rows.map((r) => r[1])].join(", "));
    return [head, rows];
  }
  function move(to, y) {
    at = Math.min(last, Math.max(1, to));
    const [head, rows] = read();
    const cursor = area.querySelector(".cursor");
    cursor.hidden = false;
    cursor.style.left = `${(100 * at) / last}%`;
    show(plot, head, rows, area.offsetLeft + (area.clientWidth * at) / last, y ?? area.offsetTop + area.clientHeight / 2);
  }
  read();
  area.addEventListener("pointermove", (e) => {
    const box = area.getBoundingClientRect();
    move(Math.round(((e.clientX - box.left) / box.width) * last), area.offsetTop + e.clientY - box.top);
  });
  area.addEventListener("pointerleave", () => { if (document.activeElement !== area) hide(plot); });
  area.addEventListener("focus", () => { if (area.matches(":focus-visible")) move(at); });
  area.addEventListener("blur", () => hide(plot));
  area.addEventListener("keydown", (e) => {
    const page = Math.max(1, Math.round(last / 10));
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: page, PageDown: -page };
    if (e.key === "Escape") return hide(plot);
    if (e.key === "Home") move(1);
    else if (e.key === "End") move(last);
    else if (e.key in by) move(at + by[e.key]);
    else return;
    e.preventDefault();
  });
}

function points(plot, area) {
  const section = data[plot.closest("[data-section]").dataset.section];
  const front = section.fronts[Number(plot.dataset.front)];
  area.addEventListener("pointermove", (e) => {
    const box = area.getBoundingClientRect();
    const [x, y] = [e.clientX - box.left, e.clientY - box.top];
    const far = (p) => (p[0] * box.width - x) ** 2 + (p[1] * box.height - y) ** 2;
    const near = front.points.reduce((a, b) => (far(b) < far(a) ? b : a));
    const cursor = area.querySelector(".cursor");
    cursor.hidden = false;
    cursor.classList.add("point");
    Object.assign(cursor.style, { left: `${100 * near[0]}%`, top: `${100 * near[1]}%` });
    show(plot, near[2], near.slice(3).map((text) => [null, text]), area.offsetLeft + near[0] * box.width,
      area.offsetTop + near[1] * box.height);
  });
  area.addEventListener("pointerleave", () => hide(plot));
}

function sortable(table) {
  // A click on a column's head sorts by it: numbers first and as numbers, dashes last.
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const text = row.cells[i].textContent.trim();
    const number = parseFloat(text.replaceAll(",", ""));
    return text === "–" || text === "" ? [2, 0, ""] : Number.isNaN(number) ? [1, 0, text] : [0, number, text];
  };
  heads.forEach((head, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((h) => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [key(row, i), row]);
      rows.sort(([a], [b]) => (a[0] === 2 || b[0] === 2 ? a[0] - b[0]
        : (up ? 1 : -1) * (a[0] - b[0] || a[1] - b[1] || a[2].localeCompare(b[2], "en", { numeric: true }))));
      body.append(...rows.map((r) => r[1]));
    });
  });
}

every(".plot").forEach((plot) => {
  const area = plot.querySelector(".area");
  (area.dataset.plot === "scatter" ? points : curves)(plot, area);
});
every(".legend input").forEach((box) => box.addEventListener("change", () => {
  every(`.run[data-run="${box.dataset.run}"]`, box.closest("[data-section]"))
    .forEach((g) => g.classList.toggle("off", !box.checked));
}));
every("table.sortable").forEach(sortable);
every(".command").forEach((block) => {
  if (!navigator.clipboard) return;
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: "copy" });
  button.setAttribute("aria-label", `copy: ${block.dataset.what}`);
  button.addEventListener("click", () => navigator.clipboard.writeText(block.querySelector("pre").textContent)
    .then(() => { button.textContent = "copied"; }, () => { button.textContent = "select it by hand"; }));
  block.append(button);
});
