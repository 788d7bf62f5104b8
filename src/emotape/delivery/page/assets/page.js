// The right pane: follows what the server says of the recordings, and shows the one that is chosen.

import { element, replace } from "./element.js";
import { drawHistory, followHistory, remember } from "./history.js";
import { explainMicrophone } from "./microphone.js";
import { watchMachine } from "./monitor.js";
import { drawProgress, followLoading, giveUp, wasInterrupted, watchButtons } from "./progress.js";
import { relabel } from "./relabel.js";
import { errorCard, showResult } from "./result.js";
import { takeFiles } from "./uploads.js";
import { feeling, isSilent, labelName, learn, say, sureness } from "./words.js";

const views = new Map(); // address → what it holds
const remembered = new Set(); // addresses that are in the history
let latest = { files: [] }; // what the server said last
let chosen = null; // which of its files is shown
let picked = false; // by the visitor, so that nothing else comes in between
let run = 0;

export async function start(props, watch) {
  learn(props.words, props.language);
  document.documentElement.lang = props.language === "zh" ? "zh-CN" : "en"; // the framework writes the browser's
  watch("value", () => props.value && follow(props.value));
  await present("stage", "left", "actions", "bridge");
  watchButtons({ started: begin, cancelled });
  watchRefusals();
  takeFiles();
  explainMicrophone();
  followLoading();
  relabel();
  drawHistory(showStored);
  followHistory(showStored);
  if (wasInterrupted()) show(element("div", { class: "waiting", role: "note" }, say("interrupted")), say("interrupted"));
  watchMachine(props.language);
}

// The framework puts up its parts one after another.
async function present(...ids) {
  while (!ids.every((id) => document.getElementById(id))) await new Promise((wake) => setTimeout(wake, 20));
}

function begin() {
  run += 1;
  latest = { files: [] };
  chosen = null;
  picked = false;
  remembered.clear();
  replace("files");
  replace("result");
  drawProgress({ files: [], done: false });
}

// A request that the framework turns down never reaches the recognizer, so that no state will ever come of it.
function watchRefusals() {
  const bridge = document.getElementById("bridge");
  new MutationObserver(() => {
    if (!bridge.querySelector("[data-testid=status-tracker] .error") || !giveUp()) return;
    run += 1;
    show(errorCard({
      code: "page_refused", message: say("refused"), cause: say("refused_cause"), cure: say("refused_cure"),
    }), say("refused"));
  }).observe(bridge, { childList: true, subtree: true });
}

function cancelled() {
  run += 1; // what still arrives is of no interest
  giveUp();
  replace("result", element("div", { class: "waiting" }, say("cancelled")));
  announce(say("cancelled"));
}

async function follow(state) {
  const own = run;
  latest = state;
  drawProgress(state);
  if (state.error) return show(errorCard(state.error), state.error.message);
  drawFiles();
  const best = [state.files.findIndex((file) => file.view), state.files.findIndex(settled)].find((place) => place >= 0);
  if (!picked && best !== undefined && best !== chosen) choose(best);
  for (const file of state.files) if (file.view && own === run) await keep(file);
}

async function keep(file) {
  const view = await fetched(file.view);
  if (!view || remembered.has(file.view)) return;
  remembered.add(file.view);
  remember(view);
  drawHistory(showStored);
}

async function fetched(address) {
  if (!views.has(address)) {
    const asked = fetch(address).then((answer) => (answer.ok ? answer.json() : null), () => null);
    views.set(address, asked);
  }
  return views.get(address);
}

async function choose(place) {
  chosen = place;
  drawFiles();
  const own = run;
  const file = latest.files[place];
  if (file.error) return show(errorCard(file.error), `${file.name}: ${file.error.message}`);
  const view = await fetched(file.view);
  if (own !== run || chosen !== place) return;
  if (!view) return show(element("div", { class: "waiting" }, say("gone")), say("gone"));
  showResult(view);
  announce(spoken(view));
}

function showStored(view) {
  replace("files");
  showResult(view, { stored: true });
  announce(spoken(view));
  document.getElementById("result").scrollIntoView({ block: "nearest" });
}

function spoken(view) {
  const label = view.labels.find((label) => label.key === view.emotion);
  if (isSilent(view)) return `${view.file}: ${say("silence")}`;
  return label ? `${view.file}: ${labelName(label)}, ${sureness(view)}` : view.file;
}

function show(card, words) {
  replace("result", card);
  announce(words);
}

function announce(words) {
  replace("announce", words);
}

function drawFiles() {
  const state = latest;
  if (state.files.length < 2) return replace("files");
  const focused = document.activeElement?.closest("#files button")?.dataset.place;
  const heads = ["file", "emotion", "confidence"].map((code) => element("th", { scope: "col" }, say(code)));
  const rows = state.files.map((file, place) => fileRow(file, place));
  const links = Object.entries(state.downloads ?? {}).map(([name, href]) =>
    element("a", { class: "download", href, download: name }, name));
  replace("files",
    element("div", { class: "card" },
      element("h2", {}, say("files", { done: state.files.filter(settled).length, count: state.files.length })),
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("file_table") },
        element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows))),
      links.length ? element("div", { class: "downloads" }, links) : null));
  if (focused) document.querySelector(`#files button[data-place="${focused}"]`)?.focus();
}

const settled = (file) => Boolean(file.view || file.error);

function fileRow(file, place) {
  const open = element("button", {
    type: "button", "data-place": place, disabled: !settled(file),
    "aria-current": place === chosen ? "true" : null, click: () => { picked = true; choose(place); },
  }, file.name);
  const cells = file.error
    ? [element("td", { class: "failed", colspan: 2 }, file.error.message)]
    : file.view
      ? [element("td", { class: "feeling" }, feeling(file, file.label)),
        element("td", { class: "number" }, sureness(file))]
      : [element("td", { class: "quiet", colspan: 2 }, say(`stage_${file.stage}`))];
  return element("tr", { class: place === chosen ? "chosen" : "", "data-stage": file.stage },
    element("th", { scope: "row" }, open), cells);
}
