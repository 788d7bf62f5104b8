// What the framework says in English alone, in the page's language, and one name for the choices that belong together.

import { say } from "./words.js";

const NAMES = {
  "Click to upload or drop files": "relabel_drop",
  "File upload": "relabel_field",
  "Remove this file": "relabel_remove",
  "Select input device": "relabel_device",
  "Adjust volume": "relabel_volume",
  pause: "relabel_pause",
  Close: "relabel_close",
};
// With what the framework fills in kept as it is.
const PATTERNS = [
  [/^Adjust playback speed to (.+)x$/, "relabel_speed", "count"],
  [/^Skip backwards by .+ seconds$/, "relabel_back"],
  [/^Skip forward by .+ seconds$/, "relabel_forward"],
];
const MESSAGES = [
  [/^Error\s*$/, "relabel_error"],
  [/^Connection to the server was lost\./, "relabel_lost"],
  [/^Connection errored out\./, "relabel_unreachable"],
  [/^File\(s\) exceed the maximum allowed size of (.+)$/, "relabel_too_large", "name"],
];

export function relabel() {
  const pane = document.getElementById("left");
  follow(pane, () => {
    nameControls(pane);
    joinChoices(pane);
  });
  follow(document.body, () => {
    for (const toast of document.querySelectorAll(".toast-wrap")) {
      nameControls(toast);
      translate(toast);
    }
  });
}

function follow(place, act) {
  const watched = { childList: true, subtree: true, attributeFilter: ["aria-label", "name"] };
  new MutationObserver(act).observe(place, watched);
  act();
}

function nameControls(place) {
  for (const control of place.querySelectorAll("[aria-label]")) {
    const given = control.getAttribute("aria-label");
    const own = NAMES[given] ? say(NAMES[given]) : worded(PATTERNS, given);
    if (own && own !== given) control.setAttribute("aria-label", own);
  }
}

// Arrow keys move between radio buttons of one name only, and one name is one stop of the Tab key.
function joinChoices(pane) {
  for (const choice of pane.querySelectorAll("input[type=radio]")) {
    const name = choice.closest(".block[id]")?.id;
    if (name && choice.name !== name) choice.name = name;
  }
}

function translate(toast) {
  const texts = document.createTreeWalker(toast, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const own = worded(MESSAGES, texts.currentNode.data);
    if (own) texts.currentNode.data = own;
  }
}

function worded(patterns, text) {
  for (const [pattern, code, fact] of patterns) {
    const found = pattern.exec(text);
    if (found) return say(code, fact ? { [fact]: found[1] } : {});
  }
  return null;
}
