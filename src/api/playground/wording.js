// SPDX-License-Identifier: MIT
/* What is said of a piece, on the page and to screen readers. */
import { whenBack } from "./connection.js";
import { say } from "./page.js";
import { credits, duration, number, sentence, shorten, slug } from "./text.js";

const STAGES = {
  enhance: "Writing a fuller prompt", text: "Reading the prompt", references: "Looking at the pictures",
  denoise: "Drawing", decode: "Finishing",
};

/** A task that was asked for elsewhere tells its prompt when it is done. */
export const titleOf = (piece) => piece.prompt || "Asked for elsewhere";
export const shortTitleOf = (piece) => shorten(titleOf(piece));
export const fileNameOf = (piece) => `${slug(piece.prompt) || "easel"}-${piece.seed ?? piece.taskId}.png`;

/** On the canvas, while there is no picture. */
export function blankText(piece) {
  switch (piece.state) {
  case "SENDING": return "Sending";
  case "CREATED": return "Waiting";
  case "IN_PROGRESS": return STAGES[piece.stage] ?? "Beginning";
  case "GONE": return "No longer on the server";
  case "FAILED": return piece.error === "cancelled" ? "Cancelled" : "Not drawn";
  default: return piece.expired ? "This picture has expired" : "";
  }
}

/** Of a picture that is drawn. */
export function factsText(piece) {
  const facts = [];
  if (Number.isInteger(piece.seed)) facts.push(`seed\u00a0${piece.seed}`);
  if (piece.width) facts.push(`${piece.width}\u00a0×\u00a0${piece.height}`);
  if (piece.seconds !== undefined) facts.push(duration(piece.seconds));
  if (piece.cost) facts.push(credits(piece.cost));
  return facts.join("\u00a0· ");
}

/** The line below the title. */
export function detailsText(piece) {
  if (piece.note) return piece.note;
  switch (piece.state) {
  case "SENDING": return whenBack() ? "It is sent when the server is back" : "Sending";
  case "CREATED": return queueText(piece.queue);
  case "IN_PROGRESS": return runningText(piece);
  case "FAILED": return piece.error === "cancelled" ? "Cancelled" : sentence(piece.error ?? "It could not be drawn");
  default: return factsText(piece);
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
  return `${stage}${step}${seconds >= 1 ? ` · ${duration(Math.floor(seconds))}` : ""}`;
}

/** For screen readers, when a piece has come into another state. */
export function announce(piece) {
  const name = shortTitleOf(piece);
  if (piece.state === "CREATED") say(`Waiting: ${name}`);
  if (piece.state === "IN_PROGRESS") say(`Drawing: ${name}`);
  if (piece.state === "COMPLETED") say(`Done${piece.seconds ? ` in ${duration(piece.seconds)}` : ""}: ${name}`);
  if (piece.state === "FAILED") say(`Not drawn: ${name}. ${piece.error ?? ""}`);
}
