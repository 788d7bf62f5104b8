// The recording along its time: sound wave, curve of the scores and segments, under one cursor that plays and seeks.

import { drawing, element } from "./element.js";
import { clock, percent, say, shortName } from "./words.js";

const NARROW = 0.005; // share of the strip below which a stretch has no room for an edge beside its colour
const STEP = 1; // seconds that an arrow key moves; Page keys move ten times as far

export function timeline(view, { stored }) {
  if (stored && !view.curve && !view.segments.length) return { ...mute(), card: null };
  const total = Math.max(view.seconds, 1e-9);
  const listeners = [];
  const audio = stored ? null : element("audio", { src: view.sound, preload: "auto" });
  const cursor = element("div", { class: "cursor", "aria-hidden": "true" });
  const here = element("span", { class: "here" });
  const time = element("span", { class: "time" });
  const button = element("button", { type: "button", class: "play", click: () => toggle() });
  const track = element("div", {
    class: "track-area", tabindex: 0, role: "slider", "aria-label": say("position"), "aria-valuemin": 0,
    "aria-valuemax": total.toFixed(2), keydown: byKey, pointerdown: byPointer, pointermove: byPointer,
  }, wave(view), curveOf(view, total), strip(view, total), cursor);
  let until = null; // where a segment that is being heard ends
  let at = 0;
  let frame = 0;

  function moved() {
    if (audio && until !== null && audio.currentTime >= until) {
      audio.pause();
      until = null;
    }
    if (audio) at = audio.currentTime;
    draw();
    cancelAnimationFrame(frame);
    if (audio && !audio.paused) frame = requestAnimationFrame(moved);
  }

  function draw() {
    const share = Math.min(1, at / total);
    cursor.style.left = `${100 * share}%`;
    time.replaceChildren(`${clock(at)} / ${clock(view.seconds)}`);
    const said = saidAt(view, at);
    here.replaceChildren(said);
    track.setAttribute("aria-valuenow", at.toFixed(2));
    track.setAttribute("aria-valuetext", `${clock(at)} ${said}`);
    for (const listener of listeners) listener(at);
  }

  function seek(seconds) {
    at = Math.max(0, Math.min(total, seconds));
    until = null;
    if (audio) audio.currentTime = at;
    draw();
  }

  function play(from, to = null) {
    seek(from);
    until = to;
    audio?.play();
  }

  function toggle() {
    if (!audio.paused) return audio.pause();
    if (audio.ended) seek(0);
    return audio.play();
  }

  function byPointer(event) {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    if (event.type === "pointerdown") track.setPointerCapture(event.pointerId);
    const box = track.getBoundingClientRect();
    const seconds = (total * (event.clientX - box.left)) / box.width;
    if (audio && event.type === "pointerdown") play(seconds);
    else seek(seconds);
  }

  function byKey(event) {
    const moves = { ArrowLeft: -STEP, ArrowDown: -STEP, ArrowRight: STEP, ArrowUp: STEP, PageDown: -10 * STEP, PageUp: 10 * STEP };
    if (event.key in moves) seek(at + moves[event.key] * Math.min(1, total / 20));
    else if (event.key === "Home") seek(0);
    else if (event.key === "End") seek(total);
    else if (audio && (event.key === " " || event.key === "Enter")) toggle();
    else return;
    event.preventDefault();
  }

  function stateChanged() {
    const playing = !audio.paused;
    button.textContent = playing ? "❚❚" : "▶";
    button.setAttribute("aria-label", say(playing ? "pause" : "play"));
    moved();
  }

  if (audio) {
    for (const name of ["play", "pause", "seeked", "ended", "loadedmetadata"]) audio.addEventListener(name, stateChanged);
    stateChanged();
  } else draw();
  const rate = audio && speed(audio);
  return {
    card: element("div", { class: "card", id: "timeline" },
      element("h2", {}, say(view.curve ? "curve" : "sound")),
      element("div", { class: "player" }, audio && button, time, here, rate, audio),
      view.curve ? element("div", { class: "plot" }, scale(), track) : track,
      ticks(total, view.curve), legend(view, track),
      audio ? element("p", { class: "hint" }, say(view.segments.length ? "click_to_hear_segments" : "click_to_hear")) : null),
    canPlay: Boolean(audio),
    play,
    whenAt: (listener) => listeners.push(listener),
    stop: () => { audio?.pause(); cancelAnimationFrame(frame); },
  };
}

function mute() {
  return { canPlay: false, play() {}, whenAt() {}, stop() {} };
}

// Returns what the curve, or the segment, says of a moment.
function saidAt(view, seconds) {
  if (view.curve) {
    const point = nearest(view.curve.seconds, seconds);
    const [key, values] = Object.entries(view.curve.values).reduce((a, b) => (b[1][point] > a[1][point] ? b : a));
    const label = view.labels.find((label) => label.key === key);
    return `${label.emoji} ${shortName(label)} ${percent(values[point] / 1000)}`;
  }
  return "";
}

function nearest(sorted, value) {
  let [low, high] = [0, sorted.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low > 0 && value - sorted[low - 1] < sorted[low] - value ? low - 1 : low;
}

function wave(view) {
  const peaks = view.peaks ?? [];
  if (!peaks.length) return null;
  const path = peaks.map((peak, place) => `M${place + 0.5} ${50 - peak / 2.1}V${50 + peak / 2.1 + 0.6}`).join("");
  return drawing("svg", { class: "wave", viewBox: `0 0 ${peaks.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    drawing("path", { d: path, "vector-effect": "non-scaling-stroke" }));
}

function curveOf(view, total) {
  if (!view.curve) return null;
  const grid = [0, 25, 50, 75, 100].map((y) =>
    drawing("line", { class: "grid", x1: 0, x2: 1000, y1: y, y2: y, "vector-effect": "non-scaling-stroke" }));
  const lines = Object.entries(view.curve.values).map(([key, values]) => {
    const points = values.map((value, place) =>
      `${((1000 * view.curve.seconds[place]) / total).toFixed(1)},${(100 - value / 10).toFixed(1)}`);
    return drawing("polyline", {
      points: points.join(" "), "data-label": key, "vector-effect": "non-scaling-stroke",
      stroke: view.labels.find((label) => label.key === key).colour,
    });
  });
  return drawing("svg", { class: "curve", viewBox: "0 0 1000 100", preserveAspectRatio: "none", "aria-hidden": "true" }, grid, lines);
}

// The same stretches as the rows of the table, which is what keyboards and screen readers use.
function strip(view, total) {
  if (!view.segments.length) return null;
  const stretches = view.segments.map((segment) => {
    const label = view.labels.find((label) => label.key === segment.emotion);
    return element("span", {
      class: (segment.stop - segment.start) / total < NARROW ? "narrow" : null, title: label ? `${label.emoji} ${shortName(label)} ${percent(segment.confidence)}` : say("silence"),
      "--left": segment.start / total, "--width": (segment.stop - segment.start) / total,
      "--colour": label?.colour ?? "transparent",
    });
  });
  return element("div", { class: "strip", "aria-hidden": "true" }, stretches);
}

function scale() {
  return element("div", { class: "scale", "aria-hidden": "true" }, ["100%", "50%", "0%"].map((text) => element("span", {}, text)));
}

function ticks(total, plotted) {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => element("span", {}, clock(total * share)));
  return element("div", { class: plotted ? "ticks plotted" : "ticks", "aria-hidden": "true" }, marks);
}

function legend(view, track) {
  if (!view.curve) return null;
  const buttons = Object.keys(view.curve.values).map((key) => {
    const label = view.labels.find((label) => label.key === key);
    const button = element("button", {
      type: "button", "aria-pressed": "true", "--colour": label.colour, click: () => {
        const hidden = button.getAttribute("aria-pressed") === "true";
        button.setAttribute("aria-pressed", String(!hidden));
        track.querySelector(`[data-label="${CSS.escape(key)}"]`).classList.toggle("hidden", hidden);
      },
    }, element("i", {}), shortName(label));
    return button;
  });
  return element("div", { class: "legend", role: "group", "aria-label": say("legend") }, buttons);
}

function speed(audio) {
  const options = [0.5, 1, 1.5, 2].map((rate) => element("option", { value: rate, selected: rate === 1 }, `${rate}×`));
  return element("select", { "aria-label": say("speed"), change: (event) => { audio.playbackRate = Number(event.target.value); } }, options);
}
