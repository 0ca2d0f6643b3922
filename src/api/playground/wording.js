// SPDX-License-Identifier: MIT
/* What is said of a piece, on the page and to screen readers. */
import { whenBack } from "./connection.js";
import { say } from "./page.js";
import { credits, duration, number, roughly, sentence, shorten, slug } from "./text.js";

const STAGES = {
  enhance: "Writing a fuller prompt", text: "Reading the prompt", references: "Looking at the pictures",
  denoise: "Drawing", decode: "Finishing",
};

const TELL_LEFT_S = 5;

/** A task that was asked for elsewhere tells its prompt when it is done. */
export const titleOf = (piece) => piece.prompt || "Asked for elsewhere";
export const shortTitleOf = (piece) => shorten(titleOf(piece));
export const fileNameOf = (piece) => `${slug(piece.prompt) || "easel"}-${piece.seed ?? piece.taskId}.png`;

/** On the canvas, while there is no picture. */
export function blankText(piece) {
  switch (piece.state) {
  case "SENDING": return whenBack() ? "Waiting for the server" : "Sending";
  case "CREATED": return "Waiting";
  case "IN_PROGRESS": return STAGES[piece.stage] ?? "Beginning";
  case "GONE": return "No longer on the server";
  case "FAILED": return piece.error === "cancelled" ? "Cancelled" : "Not drawn";
  default: return piece.expired ? "This picture has expired" : "";
  }
}

/** Of a picture that is drawn: its seed, and what it took. */
export function factLines(piece) {
  const facts = [];
  if (piece.width) facts.push(`${piece.width}\u00a0×\u00a0${piece.height}`);
  if (piece.seconds !== undefined) facts.push(duration(piece.seconds));
  if (piece.cost) facts.push(credits(piece.cost));
  return [Number.isInteger(piece.seed) ? `Seed\u00a0${piece.seed}` : "", facts.join(" · ")].filter(Boolean);
}

/** Below the title. */
export function detailsText(piece) {
  if (piece.note) return piece.note;
  switch (piece.state) {
  case "SENDING": return whenBack() ? "It is sent when the server is back" : "Sending";
  case "CREATED": return queueText(piece.queue);
  case "IN_PROGRESS": return runningText(piece);
  case "FAILED": return piece.error === "cancelled" ? "Cancelled" : sentence(piece.error ?? "It could not be drawn");
  default: return factLines(piece).join("\n");
  }
}

function queueText(position) {
  if (!position) return "Waiting";
  return position === 1 ? "Waiting, next in line" : `Waiting, ${number(position - 1)} before it`;
}

function runningText(piece) {
  const stage = STAGES[piece.stage] ?? "Beginning";
  const step = piece.stage === "denoise" && piece.nSteps ? `, step ${piece.step} of ${piece.nSteps}` : "";
  const seconds = piece.seenRunning ? (performance.now() - piece.seenRunning) / 1000 : 0;
  const left = (piece.endsAt - performance.now()) / 1000;
  const times = [seconds >= 1 && duration(Math.floor(seconds)), left >= TELL_LEFT_S && `about ${roughly(left)} left`];
  return [`${stage}${step}`, times.filter(Boolean).join(", ")].filter(Boolean).join("\n");
}

/** For screen readers, when a piece has come into another state. */
export function announce(piece) {
  const name = shortTitleOf(piece);
  if (piece.state === "CREATED") say(`Waiting: ${name}`);
  if (piece.state === "IN_PROGRESS") say(`Drawing: ${name}`);
  if (piece.state === "COMPLETED") say(`Done${piece.seconds ? ` in ${duration(piece.seconds)}` : ""}: ${name}`);
  if (piece.state === "FAILED") say(`Not drawn: ${name}. ${piece.error ?? ""}`);
}
