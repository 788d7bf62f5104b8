// What this browser recognized before, kept in the browser alone: scores, never sound.

import { element, replace } from "./element.js";
import { feeling, moment, say, sureness } from "./words.js";

const KEY = "emotape.history";
const ENTRIES = 50;
const POINTS = 150; // of a stored curve

export function remember(view) {
  const { sound, downloads, peaks, ...kept } = view; // addresses end, and the sound is nobody's to keep
  save([{ ...kept, curve: thinned(view.curve) }, ...load()].slice(0, ENTRIES));
}

export function drawHistory(show) {
  const entries = load();
  if (!entries.length) return replace("history");
  const clear = element("button", { type: "button", class: "clear", click: () => { save([]); drawHistory(show); } }, say("history_clear"));
  const list = element("ul", {}, entries.map((view) => entry(view, show)));
  return replace("history",
    element("div", { class: "card" },
      element("div", { class: "head" }, element("h2", {}, say("history")), clear),
      element("p", { class: "hint" }, say("history_hint")),
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("history") }, list)));
}

// What another tab of this browser recognizes or clears is seen here, too.
export function followHistory(show) {
  window.addEventListener("storage", (event) => (event.key === KEY || event.key === null) && drawHistory(show));
}

function entry(view, show) {
  const label = view.labels.find((label) => label.key === view.emotion);
  return element("li", {}, element("button", { type: "button", click: () => show(view) },
    element("span", { class: "when" }, moment(view.time)),
    element("span", { class: "what" }, view.file),
    element("span", { class: "feeling" }, feeling(view, label)),
    element("span", { class: "number" }, label ? sureness(view) : "")));
}

// A browser that forbids storage, or another program's entry under our name, is no history.
function load() {
  try {
    const entries = JSON.parse(localStorage.getItem(KEY));
    return Array.isArray(entries) ? entries.filter((view) => Array.isArray(view?.labels) && view.scores && view.stages) : [];
  } catch {
    return [];
  }
}

function save(entries) {
  for (let count = entries.length; count >= 0; count = Math.floor(count / 2) || -1) {
    try {
      if (count === 0) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, JSON.stringify(entries.slice(0, count)));
      return;
    } catch {
      continue; // full: keep half
    }
  }
}

function thinned(curve) {
  if (!curve || curve.seconds.length <= POINTS) return curve;
  const step = Math.ceil(curve.seconds.length / POINTS);
  const groups = Array.from({ length: Math.ceil(curve.seconds.length / step) }, (_, group) => [group * step, (group + 1) * step]);
  const mean = (values) => groups.map(([from, to]) => {
    const part = values.slice(from, to);
    return Math.round((1000 * part.reduce((sum, value) => sum + value, 0)) / part.length) / 1000;
  });
  return {
    seconds: mean(curve.seconds),
    values: Object.fromEntries(Object.entries(curve.values).map(([key, values]) => [key, mean(values).map(Math.round)])),
  };
}
