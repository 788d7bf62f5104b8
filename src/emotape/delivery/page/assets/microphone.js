// Why the microphone cannot be heard. The framework's button says nothing when the browser refuses.

import { element } from "./element.js";
import { say } from "./words.js";

const REASONS = { NotAllowedError: "microphone_denied", NotFoundError: "microphone_missing" };

export function explainMicrophone() {
  const devices = navigator.mediaDevices;
  if (!devices) return explainAtPress();
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wanted) => {
    tell(null);
    try {
      return await ask(wanted);
    } catch (error) {
      tell(say(REASONS[error.name] ?? "microphone_failed"));
      throw error;
    }
  };
}

// Browsers give no microphone to a page that comes unencrypted from another machine.
function explainAtPress() {
  document.addEventListener("click", (event) => {
    if (event.target.closest("#microphone .record-button")) tell(say("microphone_insecure"));
  }, true);
}

function tell(words) {
  document.getElementById("microphone-says")?.remove();
  if (!words) return;
  document.getElementById("microphone")?.after(element("p", { id: "microphone-says", class: "problem", role: "alert" }, words));
}
