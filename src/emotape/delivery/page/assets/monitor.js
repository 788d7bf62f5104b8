// The machine and the engine, once a second while somebody looks.

import { drawing, element, replace } from "./element.js";
import { bytes, percent, say, stageName } from "./words.js";

const EVERY = 1000;
const KEPT = 60; // measurements that a line shows: a minute
const FEWEST = 10;
const past = new Map();
let advised = null;

export function watchMachine(language) {
  let asking = false;
  async function look() {
    const place = document.getElementById("monitor");
    if (asking || document.hidden || !place?.offsetParent) return;
    asking = true;
    const found = await fetch(`../page/monitor?language=${language}`, { signal: AbortSignal.timeout(5000) })
      .then((answer) => (answer.ok ? answer.json() : null), () => null);
    asking = false;
    draw(found);
  }
  setInterval(look, EVERY);
  document.addEventListener("click", (event) => event.target.closest("[role=tab]") && setTimeout(look, 100));
}

function draw(found) {
  if (!found) return replace("monitor", element("div", { class: "waiting", role: "alert" }, say("no_connection")));
  if (!document.getElementById("tiles")) {
    advised = null;
    replace("monitor",
      element("div", { id: "advice", role: "status", "aria-live": "polite" }),
      element("div", { id: "tiles", class: "tiles" }), element("div", { id: "stages" }));
  }
  drawAdvice(found.advice);
  replace("tiles", ...tilesOf(found));
  replace("stages", stagesOf(found.stages));
}

// Drawn only when it changes, so that it is read out once.
function drawAdvice(advice) {
  const now = JSON.stringify(advice.map((line) => line.code));
  const lines = advice.length
    ? advice.map((line) => element("li", { "data-code": line.code }, line.text))
    : [element("li", { class: "fine" }, say("no_advice"))];
  const list = document.querySelector("#advice ul");
  if (now !== advised) replace("advice", element("h2", {}, say("advice")), element("ul", {}, lines));
  else list.querySelectorAll("li").forEach((line, place) => advice[place] && line.replaceChildren(advice[place].text));
  advised = now;
}

function tilesOf(found) {
  const tiles = [
    share("cpu", say("cpu"), found.cpu_percent / 100),
    share("memory", say("memory"), found.memory_used / found.memory_total, of(found.memory_used, found.memory_total)),
    amount("process", say("process_memory"), found.process_memory, bytes),
    amount("swap", say("swap"), found.swap_used, bytes),
    ...(found.gpus ?? []).flatMap((gpu, place) => [
      share(`gpu${place}`, say("gpu", { name: gpu.name }), gpu.utilisation / 100),
      share(`gpumemory${place}`, say("gpu_memory", { name: gpu.name }), gpu.memory_used / gpu.memory_total, of(gpu.memory_used, gpu.memory_total)),
    ]),
    amount("queue", say("queue"), found.queue_seconds, (value) => say("seconds", { count: value.toFixed(1) })),
    amount("factor", say("realtime_factor"), found.realtime_factor, (value) => `${value.toFixed(value < 10 ? 1 : 0)} ×`),
    amount("requests", say("requests"), found.requests_per_second, (value) => value.toFixed(1)),
    share("cache", say("cache"), found.cache_hit_rate),
  ];
  return tiles.filter(Boolean);
}

const of = (used, total) => `${bytes(used)} / ${bytes(total)}`;

function share(key, name, value, detail) {
  return value == null || Number.isNaN(value) ? null : tile(key, name, percent(value), value, 1, detail);
}

function amount(key, name, value, write) {
  return value == null ? null : tile(key, name, write(value), value, null);
}

function tile(key, name, text, value, ceiling, detail) {
  const line = past.get(key) ?? [];
  line.push(value);
  past.set(key, line.slice(-KEPT));
  return element("div", { class: "tile", "data-key": key },
    element("div", { class: "what" }, name), element("div", { class: "value" }, text),
    detail ? element("div", { class: "quiet" }, detail) : null, spark(past.get(key), ceiling));
}

function spark(values, ceiling) {
  const top = ceiling ?? Math.max(...values, 1e-9) * 1.1;
  const span = Math.max(values.length, FEWEST) - 1; // a young line is not a speck
  const begin = span + 1 - values.length;
  const at = (value, place) => `${begin + place},${(30 - 29 * Math.min(1, value / top)).toFixed(2)}`;
  const points = values.map(at).join(" ");
  return drawing("svg", { class: "spark", viewBox: `0 0 ${span} 30`, preserveAspectRatio: "none", "aria-hidden": "true" },
    drawing("polygon", { points: `${begin},30 ${points} ${span},30` }),
    drawing("polyline", { points, "vector-effect": "non-scaling-stroke" }));
}

function stagesOf(stages) {
  const found = Object.entries(stages ?? {});
  if (!found.length) return null;
  const total = found.reduce((sum, [, seconds]) => sum + seconds, 0);
  const rows = found.map(([stage, seconds]) => element("li", { "--share": total ? seconds / total : 0 },
    element("span", {}, stageName(stage)),
    element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill" })),
    element("span", { class: "number" }, percent(total ? seconds / total : 0))));
  return element("div", { class: "card" }, element("h2", {}, say("stages")), element("ul", { class: "stages" }, rows));
}
