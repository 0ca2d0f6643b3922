// SPDX-License-Identifier: MIT
/* Numbers, durations and sentences as people read them. */

export function number(value, digits = 0) {
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

export function duration(seconds) {
  if (seconds < 0.1) return "under 0.1\u00a0s";
  if (seconds < 10) return `${number(seconds, 1)}\u00a0s`;
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}\u00a0min ${whole % 60}\u00a0s`;
}

/** A duration that is a guess. */
export function roughly(seconds) {
  return seconds < 75 ? `${Math.max(5, Math.round(seconds / 5) * 5)}\u00a0s` : `${Math.round(seconds / 60)}\u00a0min`;
}

export function credits(cost) {
  return `${number(cost, 3)}\u00a0${cost === 1 ? "credit" : "credits"}`;
}

export function shorten(text, length = 80) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** The words of a text, as far as they go well into a file's name. */
export function slug(text, length = 48) {
  const words = text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  let joined = "";
  for (const word of words) {
    if (joined.length + word.length >= length) break;
    joined += joined ? `-${word}` : word;
  }
  return joined;
}

export function sentence(text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

/** What is wrong with a field. Most reasons go on with its name: "must be …", "is …". */
export function faultText(label, reason) {
  return /^(must|is|are|has|comes) /.test(reason) ? `${label} ${reason}` : `${label}: ${reason}`;
}
