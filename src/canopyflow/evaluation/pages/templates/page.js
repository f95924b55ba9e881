"use strict";
// What all parts share: the data, colours that follow the theme, selects, and unpacking.
const DATA = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

const theme = {
  button: byId("theme"),
  set(name) {
    document.documentElement.dataset.theme = name;
    theme.button.textContent = name === "dark" ? "light" : "dark";
    theme.button.setAttribute("aria-pressed", String(name === "dark"));
    theme.button.setAttribute("aria-label", "switch to " + theme.button.textContent + " colours");
  },
};
const wantsDark = window.matchMedia("(prefers-color-scheme: dark)");
theme.set(wantsDark.matches ? "dark" : "light");
wantsDark.addEventListener("change", (event) => theme.set(event.matches ? "dark" : "light"));
theme.button.addEventListener("click", () => {
  theme.set(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
});

function fill(select, options, wanted) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (wanted !== undefined && options.some(([value]) => value === wanted)) select.value = wanted;
}

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function labelOf(name) {
  const known = DATA.labels[name];
  return known ? known : name;
}

function digits(value, count) {
  if (value === null || !Number.isFinite(value)) return "–";
  return Number(value.toPrecision(count || 3)).toLocaleString("en", { maximumSignificantDigits: count || 3 });
}

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
