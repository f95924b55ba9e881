// Charts as SVG: calibration, matchups, and what plots and parcels do through the season.
const SVG = "http://www.w3.org/2000/svg";
const BOX = { width: 720, height: 380, left: 62, right: 14, top: 12, bottom: 48 };

// Charts are drawn in the pixels of their place, so that letters have one size on every screen.
function fit(holder) {
  BOX.width = Math.max(280, Math.round(holder.clientWidth) || 720);
  BOX.height = Math.round(Math.min(440, Math.max(260, 0.5 * BOX.width)));
}

function shape(parent, name, attributes, title) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) made.appendChild(document.createElementNS(SVG, "title")).textContent = title;
  parent.appendChild(made);
  return made;
}

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

function dayTicks(low, high, count) {
  const out = [];
  const months = Math.max(1, Math.ceil((high - low) / 86400e3 / 30.4 / count));
  const day = new Date(low);
  let month = day.getUTCFullYear() * 12 + day.getUTCMonth();
  for (; ; month += months) {
    const at = Date.UTC(Math.floor(month / 12), month % 12, 1);
    if (at > high) break;
    if (at >= low) out.push(at);
  }
  return out.length > 1 ? out : [low, high];
}

const dayText = (at) => new Date(at).toISOString().slice(0, 10);

// A frame with axes; gives the two scales and the group to draw in.
function frame(holder, label, x, y) {
  fit(holder);
  holder.replaceChildren();
  const svg = shape(holder, "svg", { viewBox: `0 0 ${BOX.width} ${BOX.height}`, role: "img", "aria-label": label });
  const across = (v) => BOX.left + ((v - x.low) / (x.high - x.low)) * (BOX.width - BOX.left - BOX.right);
  const up = (v) => BOX.height - BOX.bottom - ((v - y.low) / (y.high - y.low)) * (BOX.height - BOX.top - BOX.bottom);
  const bottom = BOX.height - BOX.bottom;
  for (const v of ticks(y.low, y.high, 6)) {
    shape(svg, "line", { class: "grid", x1: BOX.left, x2: BOX.width - BOX.right, y1: up(v), y2: up(v) });
    shape(svg, "text", { x: BOX.left - 7, y: up(v) + 4, "text-anchor": "end" }).textContent = y.text ? y.text(v) : String(v);
  }
  const room = Math.max(2, Math.floor(BOX.width / 110));
  for (const v of x.days ? dayTicks(x.low, x.high, room) : ticks(x.low, x.high, Math.min(10, room + 2))) {
    shape(svg, "line", { class: "grid", x1: across(v), x2: across(v), y1: BOX.top, y2: bottom });
    const last = across(v) > BOX.width - 44 && x.days;
    shape(svg, "text", { x: last ? BOX.width - 2 : across(v), y: bottom + 18, "text-anchor": last ? "end" : "middle" }).textContent = x.days ? dayText(v) : String(v);
  }
  shape(svg, "line", { class: "axis", x1: BOX.left, x2: BOX.width - BOX.right, y1: bottom, y2: bottom });
  shape(svg, "line", { class: "axis", x1: BOX.left, x2: BOX.left, y1: BOX.top, y2: bottom });
  shape(svg, "text", { x: (BOX.left + BOX.width) / 2, y: BOX.height - 8, "text-anchor": "middle" }).textContent = x.label || "";
  const middle = (BOX.top + bottom) / 2;
  shape(svg, "text", { x: 15, y: middle, "text-anchor": "middle", transform: `rotate(-90 15 ${middle})` }).textContent = y.label || "";
  return { svg, across, up };
}

function keys(holder, names, colours) {
  const list = element("ul", null, { class: "keys" });
  names.forEach((name, i) => {
    const item = element("li");
    item.append(element("span", null, { class: "swatch", style: `background:${colours[i]}` }), name);
    list.append(item);
  });
  holder.append(list);
}

const colour = (index) => `var(--c${index % 8})`;

function diamond(svg, x, y, size, attributes, title) {
  shape(svg, "path", { d: `M${x} ${y - size}L${x + size} ${y}L${x} ${y + size}L${x - size} ${y}Z`, ...attributes }, title);
}

function drawCalibration() {
  const variable = byId("calibration-variable").value;
  const lines = DATA.calibration[variable] || {};
  const names = DATA.models.filter((name) => lines[name]);
  const all = names.flatMap((name) => [...(lines[name].simulations || []), ...(lines[name].plots || [])]);
  const reach = Math.max(0.06, ...all.map(([level, share]) => Math.abs(share - level))) * 1.08;
  const view = frame(
    byId("calibration-chart"),
    `Coverage of intervals of ${labelOf(variable)}: observed less promised share, for ${names.join(", ")}`,
    { low: 0, high: 1, label: "probability that the interval promises" },
    { low: -reach, high: reach, label: "observed − promised", text: (v) => (v > 0 ? "+" : "") + v },
  );
  shape(view.svg, "line", { class: "axis", "stroke-width": 2, x1: view.across(0), x2: view.across(1), y1: view.up(0), y2: view.up(0) });
  names.forEach((name) => {
    const at = colour(DATA.models.indexOf(name));
    const points = (lines[name].simulations || []).map(([level, share]) => `${view.across(level)},${view.up(share - level)}`);
    shape(view.svg, "polyline", { points: points.join(" "), fill: "none", stroke: at, "stroke-width": 2.2 }, name);
    for (const [level, share] of lines[name].plots || []) {
      diamond(view.svg, view.across(level), view.up(share - level), 6, { fill: at, stroke: "var(--card)" },
        `${name}, plots: ${digits(100 * share)} % in the ${100 * level} % interval`);
    }
  });
  keys(byId("calibration-chart"), names, names.map((name) => colour(DATA.models.indexOf(name))));
}

function drawMatchups() {
  const of = DATA.matchups[byId("matchups-variable").value] || {};
  const model = byId("matchups-model").value;
  const rows = of[model] || [];
  const label = labelOf(byId("matchups-variable").value);
  const finite = rows.flatMap(([value, error, low, middle, high]) => [value + (error || 0), middle, high]).filter(Number.isFinite);
  const top = Math.max(1e-6, ...finite) * 1.04;
  const view = frame(byId("matchups-chart"), `${rows.length} measurements of ${label} against the posterior of ${model}`,
    { low: 0, high: top, label: `measured ${label}` }, { low: 0, high: top, label: `retrieved ${label}` });
  shape(view.svg, "line", { class: "axis", x1: view.across(0), y1: view.up(0), x2: view.across(top), y2: view.up(top) });
  for (const [value, error, low, middle, high, name] of rows) {
    const inside = value >= low && value <= high;
    const stroke = inside ? "var(--c0)" : "var(--c1)";
    const thin = { stroke, "stroke-width": 1, opacity: 0.5 };
    shape(view.svg, "line", { x1: view.across(value), x2: view.across(value), y1: view.up(low), y2: view.up(high), ...thin });
    if (error) shape(view.svg, "line", { x1: view.across(Math.max(0, value - error)), x2: view.across(value + error), y1: view.up(middle), y2: view.up(middle), ...thin });
    const title = `${name}: measured ${digits(value)}, retrieved ${digits(middle)} (${digits(low)} to ${digits(high)})`;
    if (inside) shape(view.svg, "circle", { cx: view.across(value), cy: view.up(middle), r: 3.4, fill: stroke }, title);
    else diamond(view.svg, view.across(value), view.up(middle), 4.6, { fill: stroke }, title);
  }
  if (!rows.length) shape(view.svg, "text", { x: BOX.width / 2, y: BOX.height / 2, "text-anchor": "middle" }).textContent = `${model} does not estimate it`;
}

function seriesTable(holder, lines, models, label) {
  const table = element("table");
  const head = table.createTHead().insertRow();
  for (const text of ["date", "model", `median ${label}`, "5 %", "95 %", "flagged"]) head.append(element("th", text, { scope: "col" }));
  const body = table.createTBody();
  for (const name of models) {
    for (const [date, low, middle, high, doubt] of lines[name] || []) {
      const row = body.insertRow();
      for (const text of [date, name, digits(middle), digits(low), digits(high), doubt ? "yes" : ""]) row.append(element("td", text));
    }
  }
  holder.replaceChildren(table);
}

function drawSeries(kind) {
  const data = DATA[kind];
  const name = byId(`${kind}-name`).value;
  const variable = byId(`${kind}-variable`).value;
  const label = labelOf(variable);
  const chosen = data.models.filter((model) => byId(`${kind}-model-${model}`).checked);
  const lines = (data.lines[name] || {})[variable] || {};
  const measured = (data.measured[name] || {})[variable] || [];
  const rows = chosen.flatMap((model) => lines[model] || []);
  const days = Object.values(data.lines).flatMap((of) => Object.values(of)).flatMap((of) => Object.values(of)).flat().map((point) => Date.parse(point[0]));
  const dates = days.concat(measured.map((point) => Date.parse(point[0])));
  const low = dates.reduce((a, b) => Math.min(a, b), Infinity);
  const high = dates.reduce((a, b) => Math.max(a, b), -Infinity);
  const tops = rows.map((point) => point[3]).concat(measured.map((point) => point[1] + (point[2] || 0)));
  const top = tops.filter(Number.isFinite).reduce((a, b) => Math.max(a, b), 0.01) * 1.05;
  const margin = Math.max(86400e3, (high - low) * 0.02);
  const view = frame(byId(`${kind}-chart`), `${label} of ${name} through time: ${chosen.join(", ")}, ${measured.length} measurements`,
    { low: low - margin, high: high + margin, days: true }, { low: 0, high: top, label });
  chosen.forEach((model) => {
    const at = colour(DATA.models.indexOf(model));
    const points = (lines[model] || []).map((point) => [view.across(Date.parse(point[0])), ...point.slice(1, 4).map(view.up), point]);
    const band = points.map(([x, l]) => `${x},${l}`).concat(points.slice().reverse().map(([x, , , h]) => `${x},${h}`));
    shape(view.svg, "polygon", { points: band.join(" "), fill: at, opacity: 0.18 });
    shape(view.svg, "polyline", { points: points.map(([x, , m]) => `${x},${m}`).join(" "), fill: "none", stroke: at, "stroke-width": 2 });
    for (const [x, , m, , [date, l, q, h, doubt]] of points) {
      shape(view.svg, "circle", { cx: x, cy: m, r: 3.4, fill: doubt ? "var(--card)" : at, stroke: at, "stroke-width": 1.5 },
        `${model}, ${date}: ${digits(q)} (${digits(l)} to ${digits(h)})${doubt ? ", flagged" : ""}`);
    }
  });
  for (const [date, value, error] of measured) {
    const x = view.across(Date.parse(date));
    if (error) shape(view.svg, "line", { x1: x, x2: x, y1: view.up(Math.max(0, value - error)), y2: view.up(value + error), stroke: "var(--ink)", "stroke-width": 1.4 });
    diamond(view.svg, x, view.up(value), 4.6, { fill: "var(--ink)", stroke: "var(--card)" }, `measured ${date}: ${digits(value)}`);
  }
  keys(byId(`${kind}-chart`), chosen, chosen.map((model) => colour(DATA.models.indexOf(model))));
  seriesTable(byId(`${kind}-table`), lines, chosen, label);
}

function startSeries(kind) {
  const data = DATA[kind];
  fill(byId(`${kind}-name`), data.names.map((name) => [name, name]));
  fill(byId(`${kind}-variable`), data.variables.map((name) => [name, labelOf(name)]));
  data.models.forEach((model, i) => {
    const box = element("input", null, { type: "checkbox", id: `${kind}-model-${model}` });
    box.checked = i === 0;
    const text = element("label");
    text.append(box, ` ${model}`);
    byId(`${kind}-models`).append(text);
  });
  const redraw = () => drawSeries(kind);
  byId(`${kind}-name`).form.addEventListener("change", redraw);
  charts.push(redraw);
}

const charts = [];
if (Object.keys(DATA.calibration).length) {
  fill(byId("calibration-variable"), Object.keys(DATA.calibration).map((name) => [name, labelOf(name)]), DATA.variable);
  byId("calibration-variable").addEventListener("change", drawCalibration);
  charts.push(drawCalibration);
}
if (DATA.matchups && Object.keys(DATA.matchups).length) {
  const measured = Object.keys(DATA.matchups);
  fill(byId("matchups-variable"), measured.map((name) => [name, labelOf(name)]), DATA.variable);
  fill(byId("matchups-model"), DATA.models.filter((model) => measured.some((v) => DATA.matchups[v][model])).map((name) => [name, name]));
  byId("matchups-model").form.addEventListener("change", drawMatchups);
  charts.push(drawMatchups);
}
for (const kind of ["plots", "parcels"]) if (DATA[kind]) startSeries(kind);
let drawnAt = 0;
function drawCharts() {
  if (document.documentElement.clientWidth === drawnAt) return;
  drawnAt = document.documentElement.clientWidth;
  for (const draw of charts) draw();
}
drawCharts();
window.addEventListener("resize", drawCharts);
for (const form of document.forms) form.addEventListener("submit", (event) => event.preventDefault());
