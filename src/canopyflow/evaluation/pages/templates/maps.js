// The map: a tile of one date, its mean, interval width, flags or truth, and the value under the cursor.
const FLAG_COLOURS = ["#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9", "#999933", "#6b4c9a", "#aa0000"];
const MARK = [255, 0, 170];

function startMaps(maps) {
  const canvas = byId("map-canvas");
  const cross = byId("map-cross");
  const slider = byId("map-date");
  const state = { layers: {}, at: null, turn: 0 };
  const kept = new Map();
  const colours = Object.fromEntries(Object.entries(maps.colours).map(([name, text]) => [name, text.match(/../g).map((pair) => parseInt(pair, 16))]));
  const flags = Object.entries(maps.flags);
  const flagColour = (bits) => {
    const grave = bits & maps.doubtful || bits;
    const found = flags.findLastIndex(([, bit]) => grave & bit);
    const text = FLAG_COLOURS[found + 1];
    return [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16));
  };
  const tile = () => maps.tiles[Number(byId("map-tile").value)];
  const variable = () => maps.variables.find((one) => one.name === byId("map-variable").value);
  const model = () => byId("map-model").value;
  const day = () => tile().dates[Number(slider.value)];
  const layer = () => document.querySelector("input[name=layer]:checked").value;

  async function bytes(text) {
    if (text === undefined) return null;
    if (!kept.has(text)) {
      if (kept.size > 80) kept.delete(kept.keys().next().value);
      kept.set(text, await unpack(text));
    }
    return kept.get(text);
  }

  const value = (byte, low, high) => (byte ? low + ((byte - 1) / 254) * (high - low) : null);

  function limits() {
    const one = variable();
    if (layer() === "width") return [0, one.width, "magma"];
    return [one.low, one.high, "viridis"];
  }

  function paint() {
    const { mean, width, bits, truth } = state.layers;
    const shown = { mean, width, truth, flags: bits }[layer()];
    const size = tile();
    canvas.width = size.width;
    canvas.height = size.height;
    // As tall as the window at most.
    canvas.parentElement.style.width = `min(100%, ${(82 * size.width) / size.height}vh)`;
    const picture = canvas.getContext("2d").createImageData(size.width, size.height);
    const table = colours[limits()[2]];
    const marks = byId("map-mark").checked && layer() !== "flags" && layer() !== "truth";
    for (let i = 0; shown && i < shown.length; i++) {
      let rgb = null;
      if (layer() === "flags") {
        if (!(bits[i] & 1)) rgb = flagColour(bits[i]);
      } else if (shown[i]) {
        const k = 3 * Math.round(((shown[i] - 1) / 254) * 255);
        rgb = [table[k], table[k + 1], table[k + 2]];
        const odd = (Math.floor(i / size.width) + (i % size.width)) % 2;
        if (marks && odd && bits && bits[i] & maps.doubtful) rgb = MARK;
      }
      if (rgb) picture.data.set([...rgb, 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
    const names = { mean: maps.words[0], width: maps.words[1], flags: "flags", truth: "truth" };
    canvas.setAttribute("aria-label", `Map of ${labelOf(variable().name)}, ${names[layer()]}, ${model()}, tile ${size.tile}, ${day().date}`);
  }

  function legend() {
    const holder = byId("map-legend");
    if (layer() === "flags") {
      const list = element("ul", null, { class: "keys" });
      const there = ["none", ...flags.map(([name]) => name.replaceAll("_", " "))];
      there.forEach((name, i) => {
        const item = element("li");
        item.append(element("span", null, { class: "swatch", style: `background:${FLAG_COLOURS[i]}` }), name);
        list.append(item);
      });
      holder.replaceChildren(list);
      return;
    }
    const [low, high, name] = limits();
    const bar = element("canvas", null, { width: 256, height: 1, role: "img", "aria-label": `colour scale from ${digits(low)} to ${digits(high)}` });
    const picture = bar.getContext("2d").createImageData(256, 1);
    for (let i = 0; i < 256; i++) picture.data.set([...colours[name].slice(3 * i, 3 * i + 3), 255], 4 * i);
    bar.getContext("2d").putImageData(picture, 0, 0);
    const ends = element("div", null, { class: "ends" });
    ends.append(element("span", digits(low)), element("span", labelOf(variable().name)), element("span", digits(high)));
    holder.replaceChildren(bar, ends);
  }

  function tell() {
    const out = byId("map-value");
    if (!state.at) return;
    const size = tile();
    const [column, row] = state.at;
    const i = row * size.width + column;
    const one = variable();
    const { mean, width, bits, truth } = state.layers;
    const metres = size.pixel * size.step;
    const place = `E ${Math.round(size.west + metres * column + size.pixel / 2)}, N ${Math.round(size.north - metres * row - size.pixel / 2)} (EPSG:${size.epsg})`;
    const unit = one.unit ? ` ${one.unit}` : "";
    const lines = [place];
    if (!mean || !mean[i]) lines.push(bits && bits[i] & 1 ? "masked: no posterior here" : "no value");
    else {
      lines.push(`${one.symbol} ${maps.words[0]}: ${digits(value(mean[i], one.low, one.high))}${unit}`);
      lines.push(`${maps.words[1]}: ${digits(value(width[i], 0, one.width))}${unit}`);
      const named = flags.filter(([, bit]) => bits[i] & bit).map(([name]) => name.replaceAll("_", " "));
      lines.push(named.length ? `flags: ${named.join(", ")}` : "no flag");
    }
    if (truth && truth[i]) lines.push(`truth: ${digits(value(truth[i], one.low, one.high))}${unit}`);
    out.textContent = lines.join("\n");
    cross.hidden = false;
    cross.style.left = `${(100 * column) / size.width}%`;
    cross.style.top = `${(100 * row) / size.height}%`;
    cross.style.width = `${100 / size.width}%`;
    cross.style.height = `${100 / size.height}%`;
  }

  async function draw() {
    const turn = ++state.turn;
    const date = day();
    const name = variable().name;
    byId("map-day").textContent = `${date.date}, ${date.platform}, ${digits(100 * date.clear)} % clear`;
    slider.setAttribute("aria-valuetext", date.date);
    const of = date.layers[model()] || {};
    const pair = of[name] || [];
    const [mean, width, bits, truth] = await Promise.all([pair[0], pair[1], of.flags, (date.layers.truth || {})[name]].map(bytes));
    if (turn !== state.turn) return;
    state.layers = { mean, width, bits, truth };
    paint();
    legend();
    tell();
    canvas.dataset.shown = [model(), name, tile().tile, date.date, layer()].join(" ");
  }

  function ofTile() {
    slider.max = tile().dates.length - 1;
    const clearest = tile().dates.reduce((best, one, i, all) => (one.clear > all[best].clear ? i : best), 0);
    slider.value = clearest;
    state.at = null;
    cross.hidden = true;
    draw();
  }

  function step(by) {
    slider.value = Number(slider.value) + by;
    draw();
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const size = tile();
    const clip = (v, most) => Math.min(most - 1, Math.max(0, Math.floor(v)));
    state.at = [clip(((event.clientX - box.left) / box.width) * size.width, size.width), clip(((event.clientY - box.top) / box.height) * size.height, size.height)];
    tell();
  }

  fill(byId("map-model"), maps.models.map((name) => [name, name]));
  fill(byId("map-variable"), maps.variables.map((one) => [one.name, `${one.symbol} – ${one.long}`]), DATA.variable);
  fill(byId("map-tile"), maps.tiles.map((one, i) => [String(i), one.tile]));
  byId("map-tile").addEventListener("change", ofTile);
  for (const id of ["map-model", "map-variable", "map-mark"]) byId(id).addEventListener("change", draw);
  for (const one of document.querySelectorAll("input[name=layer]")) one.addEventListener("change", draw);
  slider.addEventListener("input", draw);
  byId("map-back").addEventListener("click", () => step(-1));
  byId("map-next").addEventListener("click", () => step(1));
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    const size = tile();
    const [column, row] = state.at || [Math.floor(size.width / 2), Math.floor(size.height / 2)];
    state.at = [Math.min(size.width - 1, Math.max(0, column + move[0])), Math.min(size.height - 1, Math.max(0, row + move[1]))];
    tell();
  });
  ofTile();
}

if (DATA.maps) startMaps(DATA.maps);
