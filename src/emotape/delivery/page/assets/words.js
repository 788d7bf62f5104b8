// What the page says, in its language, and how it writes numbers.

let words = { texts: {}, warnings: {} };
let language = "en";

export function learn(given, tongue) {
  words = given;
  language = tongue;
}

export function say(code, facts = {}) {
  return words.texts[code].replace(/\{(\w+)\}/g, (_, name) => facts[name]);
}

export function warning(code) {
  return words.warnings[code] ?? code;
}

export function stageName(stage) {
  return words.texts[`stage_${stage}`] ?? stage;
}

// In Chinese with the English name beside it, as on the known page.
export function labelName(label) {
  return language === "zh" && label.zh !== label.en ? `${label.zh} ${label.en}` : label.en;
}

export function shortName(label) {
  return language === "zh" ? label.zh : label.en;
}

export function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

// The scores of silence say something of amplified noise alone.
export function isSilent(answer) {
  return Boolean(answer.warnings?.includes("silent"));
}

// What was heard, in a list.
export function feeling(answer, label) {
  if (isSilent(answer)) return `🔇 ${say("silence")}`;
  return label ? `${label.emoji} ${labelName(label)}` : "–";
}

// How sure the model is of an answer in a list.
export function sureness(answer) {
  if (isSilent(answer)) return "–";
  const doubts = [
    answer.uncertain ? say("unsure") : null,
    answer.warnings?.includes("little_speech") ? say("hardly_speech") : null,
  ];
  return [percent(answer.confidence), ...doubts.filter(Boolean)].join(" ·\u00a0");
}

export function duration(seconds) {
  if (seconds < 1) return say("milliseconds", { count: (1000 * seconds).toFixed(1) });
  return say("seconds", { count: seconds.toFixed(2) });
}

export function clock(seconds, digits = 1) {
  const parts = 10 ** digits;
  const all = Math.round(seconds * parts);
  const whole = Math.floor(all / parts);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = `${String(whole % 60).padStart(2, "0")}.${String(all % parts).padStart(digits, "0")}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

export function moment(text) {
  return new Date(text).toLocaleString(language === "zh" ? "zh-CN" : "en-GB", { dateStyle: "short", timeStyle: "short" });
}

export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(count, 1)) / 10));
  return `${(count / 1024 ** power).toFixed(power > 2 ? 1 : 0)} ${units[power]}`;
}
