// SPDX-License-Identifier: MIT
/* The form: what is asked for, kept from visit to visit. */
import { clearFaults, showFaults } from "./faults.js";
import { key } from "./key.js";
import { askForKey } from "./key-dialog.js";
import { $, dialogIsOpen, hush, say, tell } from "./page.js";
import { forgetPiece, pieces } from "./pieces.js";
import { references } from "./references.js";
import { draw } from "./sending.js";
import { SIDE_MAX, SIDE_MIN, setSize, setUpSizes, side, wrongSides } from "./sizes.js";
import { memory } from "./storage.js";
import { number } from "./text.js";
import { rearrange, revealNewest } from "./wall.js";

const SEED_MAX = 4294967295;
const PROMPT_MAX = 32000;
const EXAMPLES = [
  ["a red apple on a blue background", "#2f6fd0", "#d8352b"],
  ["a panda on yellow", "#f2c230", "#2a2b30"],
  ["cat sticker, green background", "#3f9f57", "#f0a030"],
  ["a rocket on black", "#17191d", "#d9dee6"],
  ["a fox, purple background", "#7a52c0", "#e8752a"],
];

const seedText = () => $("seed").value.trim();

function faultsOfDesk() {
  const faults = wrongSides().map((name) => ({ name, reason: `must be a whole number from ${SIDE_MIN} to ${SIDE_MAX}` }));
  const length = [...$("prompt").value].length;
  if (!$("prompt").value.trim()) faults.unshift({ name: "prompt", reason: "is missing: write what to draw" });
  if (length > PROMPT_MAX) {
    faults.unshift({ name: "prompt", reason: `is too long: ${number(length)} of at most ${number(PROMPT_MAX)} characters` });
  }
  if (!/^\d*$/.test(seedText()) || Number(seedText()) > SEED_MAX) {
    faults.push({ name: "seed", reason: `must be a whole number from 0 to ${SEED_MAX}` });
  }
  return faults;
}

function submit(event) {
  event.preventDefault();
  const faults = faultsOfDesk();
  if (faults.length) {
    showFaults(faults);
    return;
  }
  clearFaults();
  if (!key.value) askForKey();
  const facts = {
    prompt: $("prompt").value.trim(), width: side("width"), height: side("height"), enhance: $("enhance").checked,
    seed: seedText() ? Number(seedText()) : null, pictures: references.map(({ picture }) => picture),
  };
  hush();
  remember();
  rearrange(() => draw(facts, takeBack));
  revealNewest();
}

/** The server does not like a field. */
function takeBack(piece, faults) {
  rearrange(() => forgetPiece(piece));
  showFaults(faults);
}

/* ---- the seed: new for every picture, or one that stays ---- */

function showSeedLock() {
  $("seed-lock").setAttribute("aria-pressed", String(seedText() !== ""));
}

function toggleSeedLock() {
  if (seedText()) {
    $("seed").value = "";
    say("Every picture gets a new seed.");
  } else {
    const last = pieces.find((piece) => Number.isInteger(piece.seed))?.seed;
    $("seed").value = last ?? crypto.getRandomValues(new Uint32Array(1))[0];
    say(`Seed ${$("seed").value} is kept.`);
  }
  showSeedLock();
  remember();
}

/* ---- examples ---- */

function svgNode(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
  return node;
}

function makeExample([text, ground, thing]) {
  const daub = svgNode("svg", { viewBox: "0 0 26 26", "aria-hidden": "true" });
  daub.append(svgNode("path", { fill: ground, d: "M13 1c5 0 8 1 10 4s2 7 2 9-2 8-7 10-11 1-14-2S0 15 2 9 8 1 13 1z" }),
    svgNode("circle", { fill: thing, cx: 13.5, cy: 13, r: 5 }));
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.append(daub, text);
  button.addEventListener("click", () => takeExample(text));
  const item = document.createElement("li");
  item.append(button);
  return item;
}

function takeExample(text) {
  $("prompt").value = text;
  clearFaults();
  remember();
  $("draw").focus({ focusVisible: true });
  tell(`The prompt is: ${text}. Press Draw.`);
}

/* ---- from visit to visit ---- */

function remember() {
  memory.set("desk", { prompt: $("prompt").value, width: $("width").value, height: $("height").value, seed: $("seed").value,
    enhance: $("enhance").checked });
}

function restore() {
  const desk = { prompt: "", width: 1024, height: 768, seed: "", enhance: false, ...memory.get("desk") };
  $("prompt").value = desk.prompt;
  $("seed").value = desk.seed;
  $("enhance").checked = desk.enhance;
  setSize(desk.width, desk.height);
  showSeedLock();
}

export function setUpDesk() {
  if (/Mac|iPhone|iPad/.test(navigator.platform)) $("draw-keys").textContent = "⌘ ↵";
  setUpSizes();
  $("examples").append(...EXAMPLES.map(makeExample));
  restore();
  $("desk").addEventListener("submit", submit);
  // after the fields' own listeners
  for (const type of ["input", "change"]) $("desk").addEventListener(type, remember);
  $("seed").addEventListener("input", showSeedLock);
  $("seed-lock").addEventListener("click", toggleSeedLock);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !dialogIsOpen()) submit(event);
  });
}
