// SPDX-License-Identifier: MIT
/* The size of a picture: shapes, sliders and numbers that follow each other, and what it costs. */
import { $ } from "./page.js";
import { references, referencesChanged } from "./references.js";
import { credits, number } from "./text.js";

export const SIDE_MIN = 256;
export const SIDE_MAX = 1440;
const MEGAPIXEL = 1024 * 1024;
const SIDES = ["width", "height"];
const SHAPES = [["1:1", 1024, 1024], ["4:3", 1024, 768], ["3:4", 768, 1024], ["16:9", 1440, 810], ["9:16", 810, 1440]];

let prices = null; // credits for a megapixel, if the server tells

export const side = (name) => Number($(name).value);
const sideIsValid = (name) => Number.isInteger(side(name)) && side(name) >= SIDE_MIN && side(name) <= SIDE_MAX;
export const wrongSides = () => SIDES.filter((name) => !sideIsValid(name));

export function setPrices(given) {
  prices = given;
  showCost();
}

export function setSize(width, height) {
  $("width").value = width;
  $("height").value = height;
  showSize();
}

function showSize() {
  for (const name of SIDES) showSlider(name);
  for (const radio of document.querySelectorAll("#shapes input")) {
    radio.checked = radio.value === `${side("width")}x${side("height")}`;
  }
  showCost();
  $("empty-size").textContent = `${$("width").value} × ${$("height").value}`;
  if (!wrongSides().length) $("empty").style.setProperty("--ratio", side("width") / side("height"));
}

function showSlider(name) {
  const slider = $(`${name}-slider`);
  if (sideIsValid(name)) slider.value = side(name);
  slider.style.setProperty("--filled", `${((slider.value - SIDE_MIN) / (SIDE_MAX - SIDE_MIN)) * 100}%`);
  slider.setAttribute("aria-valuetext", `${$(name).value} pixels`);
}

function showCost() {
  const megapixels = (side("width") * side("height")) / MEGAPIXEL;
  const parts = [`${number(megapixels, 2)} ${megapixels === 1 ? "megapixel" : "megapixels"}`];
  const cost = costOf(megapixels);
  if (cost) parts.push(credits(cost));
  $("megapixels").textContent = wrongSides().length ? "" : parts.join(", ");
}

function costOf(megapixels) {
  if (!prices) return 0;
  const referenceMegapixels = references.reduce((sum, { pixels }) => sum + pixels / MEGAPIXEL, 0);
  return Math.max(1, Math.ceil(megapixels)) * prices.output_mp + referenceMegapixels * prices.reference_mp;
}

function makeShape([name, width, height]) {
  const label = document.createElement("label");
  const radio = Object.assign(document.createElement("input"), { type: "radio", name: "shape", value: `${width}x${height}` });
  const glyph = document.createElement("i");
  glyph.style.aspectRatio = `${width} / ${height}`;
  glyph.style[width > height ? "width" : "height"] = width === height ? "1.6rem" : "2rem";
  label.className = "shape";
  label.title = `${width} × ${height}`;
  label.append(radio, glyph, name);
  radio.addEventListener("change", () => setSize(width, height));
  return label;
}

export function setUpSizes() {
  $("shapes").append(...SHAPES.map(makeShape));
  for (const name of SIDES) {
    $(name).addEventListener("input", showSize);
    $(`${name}-slider`).addEventListener("input", () => {
      $(name).value = $(`${name}-slider`).value;
      showSize();
    });
  }
  referencesChanged.on(showCost);
}
