// The names that the framework gives its controls in English alone, in the page's language.

import { say } from "./words.js";

const NAMES = {
  "Click to upload or drop files": "relabel_drop",
  "File upload": "relabel_field",
  "Remove this file": "relabel_remove",
  "Select input device": "relabel_device",
  "Adjust volume": "relabel_volume",
  pause: "relabel_pause",
};

export function relabel() {
  const pane = document.getElementById("left");
  const name = () => {
    for (const control of pane.querySelectorAll("[aria-label]")) {
      const code = NAMES[control.getAttribute("aria-label")];
      if (code && control.getAttribute("aria-label") !== say(code)) control.setAttribute("aria-label", say(code));
    }
  };
  new MutationObserver(name).observe(pane, { childList: true, subtree: true });
  name();
}
