// What is happening now: which stage, how much is ahead, since when; and whether the server still answers.

import { element, replace } from "./element.js";
import { say } from "./words.js";

const UNDER_WAY = "emotape.under_way";
const SILENCE = 12_000; // ms without a sign of life before the page says so
let begun = 0;
let heard = 0;
let last = null;
let ticking = null;
let spoken = "";

export function watchButtons({ started, cancelled }) {
  document.addEventListener("click", (event) => {
    if (event.target.closest("#start") && !ticking) {
      begin();
      started();
    } else if (event.target.closest("#cancel") && ticking) {
      cancelled();
    }
  }, true);
}

function begin() {
  begun = heard = performance.now();
  last = null;
  spoken = "";
  busy(true);
  ticking = setInterval(tick, 500);
}

// Tells whether anything was under way.
export function giveUp() {
  const underWay = Boolean(ticking);
  clearInterval(ticking);
  ticking = null;
  busy(false);
  replace("progress");
  return underWay;
}

// The framework loads the page anew when a connection that broke is there again; a visitor may do so, too.
export function wasInterrupted() {
  const before = mark(null);
  return before !== null;
}

// Sets or clears the sign that something is under way, which outlives the page in its tab; returns what it was.
function mark(sign) {
  try {
    const before = sessionStorage.getItem(UNDER_WAY);
    if (sign) sessionStorage.setItem(UNDER_WAY, sign);
    else sessionStorage.removeItem(UNDER_WAY);
    return before;
  } catch {
    return null; // the browser forbids storage
  }
}

export function drawProgress(state) {
  if (!ticking) return;
  heard = performance.now();
  last = state;
  if (state.done) giveUp();
  else tick();
}

function busy(whether) {
  mark(whether ? "yes" : null);
  document.getElementById("actions").classList.toggle("busy", whether);
  document.getElementById("stage").setAttribute("aria-busy", String(whether));
  document.getElementById("start").setAttribute("aria-disabled", String(whether));
}

function tick() {
  if (!last) return;
  const [words, share] = performance.now() - heard > SILENCE ? [say("no_connection"), null] : wordsOf(last.files);
  const stage = words.replace(/\d+/g, "");
  if (stage !== spoken) replace("announce", words);
  spoken = stage;
  const elapsed = say("elapsed", { seconds: Math.floor((performance.now() - begun) / 1000) });
  draw(words, share, elapsed);
}

// Changes the card that is there, so that what moves in it goes on moving.
function draw(words, share, elapsed) {
  if (!document.querySelector("#progress .running")) {
    replace("progress",
      element("div", { class: "card progress running" },
        element("div", { class: "now" }, element("span", { class: "doing" }), element("span", { class: "quiet" })),
        element("progress", { max: 1, "aria-label": say("progress") })));
  }
  const card = document.querySelector("#progress .running");
  card.querySelector(".doing").textContent = words;
  card.querySelector(".quiet").textContent = elapsed;
  const bar = card.querySelector("progress");
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
}

// Returns the sentence, and the share that is done where that is known.
function wordsOf(files) {
  const settled = files.filter((file) => file.view || file.error).length;
  const current = files.filter((file) => !file.view && !file.error).sort((a, b) => rank(b) - rank(a))[0];
  if (!current) return [files.length ? say("stage_finishing") : say("stage_sending"), null];
  const done = current.windows ? current.windows_done / current.windows : null;
  const several = files.length > 1;
  const counted = several ? `${say("counted", { done: settled, count: files.length })} · ` : "";
  return [counted + stageWords(current), several ? (settled + (done ?? 0)) / files.length : done];
}

const STAGES = ["waiting", "loading", "decoding", "queued", "running", "finishing", "done"];
const rank = (file) => STAGES.indexOf(file.stage);

function stageWords(file) {
  if (file.stage === "queued" && file.ahead > 0) return say("queued_behind", { seconds: file.ahead.toFixed(0) });
  if (file.stage === "running" && file.windows > 1) {
    return say("running_window", { window: Math.min(file.windows_done + 1, file.windows), count: file.windows });
  }
  return say(`stage_${file.stage}`);
}

// Until the model is loaded, the page says so; requests may be sent meanwhile.
export async function followLoading() {
  const since = performance.now();
  for (;;) {
    const state = await fetch("../page/state").then((answer) => answer.json(), () => null);
    if (state?.ready) break;
    if (!ticking && !document.querySelector("#progress .loading")) {
      replace("progress",
        element("div", { class: "card progress loading", role: "status" },
          element("div", { class: "now" },
            element("span", { class: "doing" }, say("stage_loading")),
            element("span", { class: "quiet", "aria-hidden": "true" })),
          element("progress", { "aria-label": say("stage_loading") })));
    }
    const elapsed = document.querySelector("#progress .loading .quiet");
    if (elapsed) {
      const seconds = Math.floor((performance.now() - since) / 1000);
      elapsed.textContent = say("elapsed", { seconds });
    }
    await new Promise((wake) => setTimeout(wake, 500));
  }
  if (!ticking) replace("progress");
}
