// One answer, or one error: the emotion, its scores, what happens when, what was done, what can be downloaded.

import { element, replace } from "./element.js";
import { timeline } from "./timeline.js";
import { clock, duration, isSilent, labelName, moment, percent, say, stageName, warning } from "./words.js";

let leave = () => {}; // ends what the shown result has running

export function showResult(view, { stored = false } = {}) {
  leave();
  const time = timeline(view, { stored });
  leave = time.stop;
  replace("result",
    stored ? element("p", { class: "stored" }, say("stored", { file: view.file, time: moment(view.time) })) : null,
    verdict(view), notes(view), bars(view), time.card, segments(view, time), downloads(view), log(view));
}

export function errorCard(error) {
  leave();
  return element("div", { class: "error", role: "alert", "data-code": error.code },
    element("strong", {}, error.message),
    element("dl", {},
      element("dt", {}, say("cause")), element("dd", {}, withCommands(error.cause)),
      element("dt", {}, say("cure")), element("dd", {}, withCommands(error.cure))),
    element("code", {}, error.code));
}

function verdict(view) {
  const label = labelOf(view, view.emotion);
  if (!label) return element("div", { class: "verdict" }, say("no_emotion"));
  if (isSilent(view)) return silentVerdict(view);
  return element("div", { class: "verdict", "--colour": label.colour, "data-emotion": label.key },
    element("span", { class: "emoji", "aria-hidden": "true" }, label.emoji),
    element("div", {},
      element("h2", { class: "name" }, labelName(label)),
      element("div", { class: "confidence" }, say("confidence_of", { percent: percent(view.confidence) })),
      view.uncertain ? element("div", { class: "uncertain" }, say("uncertain")) : null,
      element("div", { class: "heard" }, `${view.file} · ${clock(view.seconds)}`)));
}

function silentVerdict(view) {
  return element("div", { class: "verdict silent" },
    element("span", { class: "emoji", "aria-hidden": "true" }, "🔇"),
    element("div", {},
      element("h2", { class: "name" }, say("silence")),
      element("div", {}, say("nothing_to_judge")),
      element("div", { class: "heard" }, `${view.file} · ${clock(view.seconds)}`)));
}

function notes(view) {
  const told = view.warnings.map((code) => element("li", { "data-code": code }, withCommands(warning(code))));
  if (view.source.channels > 1) {
    told.push(element("li", { "data-code": "mixed" }, withCommands(say("mixed", { count: view.source.channels }))));
  }
  return told.length ? element("ul", { class: "notes", "aria-label": say("notes") }, told) : null;
}

function bars(view) {
  if (!view.labels.length) return null;
  const rows = view.labels.map((label) => {
    const score = view.scores[label.key];
    return element("li", {
      class: label.key === view.emotion ? "bar best" : "bar", "--colour": label.colour, "--score": score,
    },
    element("span", { class: "label" },
      element("span", { class: "emoji", "aria-hidden": "true" }, label.emoji), ` ${labelName(label)}`),
    element("span", { class: "track", "aria-hidden": "true" }, element("span", { class: "fill" })),
    element("span", { class: "number" }, percent(score)));
  });
  return card("scores", say("scores"), element("ul", { class: "bars" }, rows));
}

function segments(view, time) {
  if (!view.segments.length) return null;
  const heads = ["segment_time", "emotion", "confidence"].map((code) => element("th", { scope: "col" }, say(code)));
  const rows = view.segments.map((segment) => {
    const label = labelOf(view, segment.emotion);
    const span = `${clock(segment.start, 2)} – ${clock(segment.stop, 2)}`;
    const hear = time.canPlay
      ? element("button", {
        type: "button", class: "hear", "aria-label": say("hear_from", { time: clock(segment.start, 2) }),
        click: () => time.play(segment.start, segment.stop),
      }, element("span", { "aria-hidden": "true" }, "▶ "), span)
      : span;
    const row = element("tr", { "data-start": segment.start, "data-stop": segment.stop },
      element("td", {}, hear),
      element("td", {},
        element("i", { "--colour": label?.colour ?? "transparent" }), label ? labelName(label) : say("silence")),
      element("td", { class: "number" }, label ? percent(segment.confidence) : "–"));
    time.whenAt((seconds) => row.classList.toggle("now", seconds >= segment.start && seconds < segment.stop));
    return row;
  });
  const table = element("table", {}, element("thead", {}, element("tr", {}, heads)), element("tbody", {}, rows));
  const scroll = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": say("segments") }, table);
  return card("segments", say("segments"), scroll);
}

function downloads(view) {
  if (!view.downloads) return null;
  const links = Object.entries(view.downloads).map(([name, href]) =>
    element("a", { class: "download", href, download: name }, name.endsWith(".zip") ? say("everything") : name));
  return card("downloads", say("downloads"), element("div", { class: "downloads" }, links));
}

function log(view) {
  const total = Object.values(view.stages).reduce((sum, seconds) => sum + seconds, 0);
  const stages = Object.entries(view.stages).map(([stage, seconds]) =>
    element("li", { "--share": total ? seconds / total : 0 },
      element("span", {}, stageName(stage)), element("span", { class: "track", "aria-hidden": "true" },
        element("span", { class: "fill" })),
      element("span", { class: "number" }, duration(seconds))));
  const facts = [
    [say("file"), `${view.file} (${view.source.container}, ${view.source.codec}, ${view.source.sample_rate} Hz, × ${view.source.channels})`],
    [say("audio"), say("audio_facts", {
      seconds: view.seconds.toFixed(2), speech: view.speech_seconds.toFixed(2), windows: view.windows,
    })],
    [say("model"), `${view.model.model} · ${view.model.digest} · ${view.model.dtype} · ${view.model.device} · emotape ${view.model.version}`],
  ];
  return card("log", say("log"),
    element("ul", { class: "stages" }, stages),
    element("dl", { class: "facts" }, facts.map(([name, fact]) => [element("dt", {}, name), element("dd", {}, fact)]).flat()));
}

function card(id, title, ...children) {
  return element("div", { class: "card", id }, element("h2", {}, title), children);
}

function labelOf(view, key) {
  return view.labels.find((label) => label.key === key);
}

// What stands between backticks is a command.
function withCommands(text) {
  return text.split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}
