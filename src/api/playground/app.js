// SPDX-License-Identifier: MIT
/* The playground: one page over the service's own API, with no way in that other clients lack.
 *
 *   helpers      small things
 *   memory       what stays in this browser: settings, the gallery, reference pictures
 *   connection   is the server there, and the patience until it is
 *   calls        requests that wait out a lost server or a refused key
 *   pieces       the gallery's entries and their states
 *   sending      from the desk to a task
 *   following    server-sent events, or polling
 *   views        pieces on the page
 *   viewer       one picture, large
 *   desk         the form
 *   pictures     references: by file, drop, paste
 *   key, theme, start
 *
 * A piece lives:  SENDING -> CREATED -> IN_PROGRESS -> COMPLETED | FAILED;  GONE: unknown to the server.
 * Data never becomes markup: everything goes through textContent and properties. */

const TASKS = "/v1/ai/text-to-image/flux-2-pro";
const PIECES_MAX = 100;
const STREAMS_MAX = 2; // a browser has six connections to a host, and other tabs share them
const STREAM_SILENCE_MS = 45000;
const SIDE_MIN = 256;
const SIDE_MAX = 1440;
const SEED_MAX = 4294967295;
const PROMPT_MAX = 32000;
const MEGAPIXEL = 1024 * 1024;
const PICTURES_MAX = 4;
const PICTURE_BYTES_MAX = 20e6;
const PICTURE_PIXELS_MAX = 64e6;
const SEND_AGAIN_MS = 12 * 3600 * 1000; // the server remembers an Idempotency-Key for 24 h
const RECONNECT_S = [1, 2, 4, 8, 15];

const SHAPES = [["1:1", 1024, 1024], ["4:3", 1024, 768], ["3:4", 768, 1024], ["16:9", 1440, 810], ["9:16", 810, 1440]];
const EXAMPLES = [
  ["a red apple on a blue background", "#2f6fd0", "#d8352b"],
  ["a panda on yellow", "#f2c230", "#2a2b30"],
  ["cat sticker, green background", "#3f9f57", "#f0a030"],
  ["a rocket on black", "#17191d", "#d9dee6"],
  ["a fox, purple background", "#7a52c0", "#e8752a"],
];
const STAGES = {
  enhance: "Writing a fuller prompt", text: "Reading the prompt", references: "Looking at the pictures",
  denoise: "Drawing", decode: "Finishing",
};

/* ---- helpers ---- */

const $ = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 52rem)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
  });
}

function orAborted(promise, signal) {
  if (!signal) return promise;
  signal.throwIfAborted();
  return Promise.race([promise, new Promise((_, reject) =>
    signal.addEventListener("abort", () => reject(signal.reason), { once: true }))]);
}

/** Calls tick with the seconds left, each second. */
async function countdown(seconds, tick, signal) {
  for (let left = Math.max(1, Math.ceil(seconds)); left > 0; left--) {
    tick(left);
    await sleep(1000, signal);
  }
}

/** For screen readers. */
function say(text) {
  $("live").textContent = text;
}

let passingTimer = 0;
/** For everyone, for a moment. */
function tell(text) {
  say(text);
  $("passing").textContent = text;
  $("passing").hidden = false;
  clearTimeout(passingTimer);
  passingTimer = setTimeout(() => { $("passing").hidden = true; }, 3500);
}

function number(value, digits = 0) {
  return value.toLocaleString("en", { maximumFractionDigits: digits });
}

function duration(seconds) {
  if (seconds < 0.1) return "under 0.1\u00a0s";
  if (seconds < 10) return `${number(seconds, 1)}\u00a0s`;
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s`;
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

function credits(cost) {
  return `${number(cost, 3)}\u00a0${cost === 1 ? "credit" : "credits"}`;
}

function shorten(text, length = 80) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function sentence(text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}

/* ---- memory ---- */

/** localStorage, where the browser allows it. */
const memory = {
  get(name, fallback = null) {
    try {
      return JSON.parse(localStorage.getItem(`easel.${name}`)) ?? fallback;
    } catch {
      return fallback;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`easel.${name}`, JSON.stringify(value));
    } catch { /* private or full: then it lasts as long as the page */ }
  },
  remove(name) {
    try {
      localStorage.removeItem(`easel.${name}`);
    } catch { /* as above */ }
  },
};

/** Reference pictures, so that "again" works after a reload, too: id -> Blob. */
const shelf = {
  held: new Map(),
  database: null,
  open() {
    this.database ??= new Promise((resolve, reject) => {
      const request = indexedDB.open("easel", 1);
      request.onupgradeneeded = () => request.result.createObjectStore("pictures");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return this.database;
  },
  async run(mode, work) {
    const store = (await this.open()).transaction("pictures", mode).objectStore("pictures");
    return new Promise((resolve, reject) => {
      const request = work(store);
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  },
  async put(id, blob) {
    this.held.set(id, blob);
    await this.run("readwrite", (store) => store.put(blob, id)).catch(() => {});
  },
  async get(id) {
    return this.held.get(id) ?? this.run("readonly", (store) => store.get(id)).catch(() => undefined);
  },
  async keepOnly(ids) {
    const all = await this.run("readonly", (store) => store.getAllKeys()).catch(() => []);
    for (const id of all) {
      if (!ids.has(id)) await this.run("readwrite", (store) => store.delete(id)).catch(() => {});
    }
  },
};

/* ---- connection ---- */

const connection = {
  back: null, // while the server is away: a promise for its return
  tryNow: null,
  model: "",
};

function showServer(state, text) {
  $("server").dataset.state = state;
  $("server-text").textContent = text;
}

/** "ready", "starting" (it answers, but cannot draw yet) or "away". */
async function probe() {
  try {
    const response = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (response.ok) return "ready";
    return response.status === 502 || response.status === 504 ? "away" : "starting";
  } catch {
    return "away";
  }
}

function showProbe(state) {
  if (state === "ready") showServer(state, connection.model ? `Ready with ${connection.model}` : "Ready");
  else if (state === "starting") showServer(state, "The worker is getting ready");
  else showServer("away", "Away");
}

async function reconnect() {
  showProbe("away");
  $("away").hidden = false;
  for (let attempt = 0; ; attempt++) {
    const now = new AbortController();
    connection.tryNow = () => now.abort();
    const seconds = RECONNECT_S[Math.min(attempt, RECONNECT_S.length - 1)];
    // the alert speaks once; the seconds that run down are for the eye
    await countdown(seconds, (left) => {
      $("away-text").textContent = `The server is away. Trying again in ${left} s.`;
    }, now.signal).catch(() => {});
    const state = await probe();
    if (state === "away") continue;
    $("away").hidden = true;
    showProbe(state);
    tell("The server is back.");
    return;
  }
}

/** Notes that the server is away; resolves when it is back. */
function lost() {
  connection.back ??= reconnect().finally(() => { connection.back = null; });
  return connection.back;
}

async function watchServer() {
  for (;;) {
    if (!document.hidden && !connection.back) {
      const state = await probe();
      if (state === "away") lost();
      else showProbe(state);
    }
    await sleep($("server").dataset.state === "starting" ? 3000 : 20000);
  }
}

/* ---- calls ---- */

class ServerError extends Error {
  constructor(status, message, faults = [], retryAfter = null) {
    super(message);
    Object.assign(this, { status, faults, retryAfter });
  }
}

async function errorOf(response) {
  const answer = await response.json().catch(() => ({}));
  const after = Number.parseFloat(response.headers.get("retry-after"));
  return new ServerError(response.status, answer.message || `The server answered ${response.status}.`,
    answer.invalid_params ?? [], Number.isFinite(after) ? after : null);
}

/** A request that waits while the server is away or the key is wrong, and then tries again: so only what
 * may be repeated goes through here. `signal` ends the waiting, never a request under way. */
async function call(method, path, { body, headers = {}, signal, during } = {}) {
  for (let broken = 0; ;) {
    await orAborted(connection.back ?? key.known(), signal);
    const used = key.value;
    let response;
    try {
      response = await fetch(path, {
        method, body, cache: "no-store", credentials: "omit", signal: during,
        headers: { "x-magnific-api-key": used, ...headers },
      });
    } catch (error) {
      if (during?.aborted) throw error;
      if (++broken > 3) throw new ServerError(0, "The server broke off the connection.");
      await orAborted(lost(), signal);
      continue;
    }
    if (response.status === 502 || response.status === 504) {
      await orAborted(lost(), signal);
    } else if (response.status === 401) {
      key.refused(used);
    } else if (response.ok) {
      return response;
    } else {
      throw await errorOf(response);
    }
  }
}

/** The events of a text/event-stream: {name, data}. */
async function* eventsOf(response, onBytes) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      onBytes();
      const blocks = (text + value).split(/\r\n\r\n|\n\n|\r\r/);
      text = blocks.pop();
      for (const block of blocks) yield eventOf(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.name = value;
    if (field === "data") event.data += (event.data ? "\n" : "") + value;
  }
  return event;
}

/* ---- pieces ---- */

const STORED = ["ref", "sendKey", "taskId", "state", "prompt", "width", "height", "seed", "enhance", "pictures", "createdAt",
  "drawnPrompt", "cost", "error", "seconds", "url", "expired"];
const hidden = new Set(memory.get("hidden", [])); // task ids that were taken off the wall
let pieces = []; // newest first

const FINAL = ["COMPLETED", "FAILED"];
const isActive = (piece) => piece.state === "CREATED" || piece.state === "IN_PROGRESS";
const isPending = (piece) => piece.state === "SENDING" || isActive(piece);
const hasPicture = (piece) => piece.state === "COMPLETED" && Boolean(piece.url);
/** A task that was asked for elsewhere may not tell its prompt. */
const titleOf = (piece) => piece.prompt || "Asked for elsewhere";
const pieceOf = (taskId) => pieces.find((piece) => piece.taskId === taskId);

let saveTimer = 0;
function save() {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveNow, 300);
}

function saveNow() {
  memory.set("pieces", pieces.map((piece) => Object.fromEntries(STORED.map((name) => [name, piece[name]]))));
}

function newPiece(facts) {
  return { ref: randomId(), state: "SENDING", seed: null, enhance: false, pictures: [], createdAt: Date.now(), ...facts };
}

function insert(piece) {
  const at = pieces.findIndex((other) => other.createdAt <= piece.createdAt);
  pieces.splice(at < 0 ? pieces.length : at, 0, piece);
  pieces.filter((other) => !isPending(other)).slice(PIECES_MAX).forEach(forgetPiece);
  save();
}

function forgetPiece(piece) {
  pieces = pieces.filter((other) => other !== piece);
  views.get(piece)?.root.remove();
  views.delete(piece);
  save();
}

/** Result URLs name the public host; the page asks for them where it came from itself. */
function localUrl(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

const secondsBetween = (from, to) => {
  const ms = Date.parse(to) - Date.parse(from);
  return Number.isFinite(ms) ? Math.max(0, ms / 1000) : undefined;
};

/** What the server says of a task, in a GET answer or an event. */
function absorb(piece, answer) {
  const facts = answer.data ?? answer;
  const before = piece.state;
  if (facts.task_id) piece.taskId = facts.task_id;
  if (facts.status) piece.state = facts.status;
  for (const name of ["seed", "width", "height", "cost", "error"]) {
    if (facts[name] !== undefined && facts[name] !== null) piece[name] = facts[name];
  }
  if (facts.prompt) {
    piece.prompt ||= facts.prompt;
    piece.drawnPrompt = facts.prompt;
  }
  piece.queue = facts.queue_position;
  absorbProgress(piece, facts);
  if (piece.state === "IN_PROGRESS") piece.seenRunning ??= performance.now();
  if (piece.state === "COMPLETED") absorbResult(piece, facts);
  if (FINAL.includes(piece.state)) piece.note = undefined;
  if (piece.state !== before) announce(piece);
  show(piece);
  save();
}

function absorbProgress(piece, facts) {
  if (typeof facts.progress === "number") piece.progress = facts.progress;
  if (facts.stage) piece.stage = facts.stage;
  if (facts.n_steps) Object.assign(piece, { step: facts.step, nSteps: facts.n_steps });
}

function absorbResult(piece, facts) {
  if (facts.generated) {
    piece.url = facts.generated.length ? localUrl(facts.generated[0]) : undefined;
    piece.expired = !piece.url;
  }
  piece.seconds = secondsBetween(facts.started_at, facts.finished_at) ?? piece.seconds
    ?? (piece.seenRunning && (performance.now() - piece.seenRunning) / 1000);
}

function announce(piece) {
  const name = shorten(titleOf(piece));
  if (piece.state === "CREATED") say(`Waiting: ${name}`);
  if (piece.state === "IN_PROGRESS") say(`Drawing: ${name}`);
  if (piece.state === "COMPLETED") say(`Done${piece.seconds ? ` in ${duration(piece.seconds)}` : ""}: ${name}`);
  if (piece.state === "FAILED") say(`Not drawn: ${name}. ${piece.error ?? ""}`);
}

async function refresh(piece) {
  try {
    absorb(piece, await (await call("GET", `${TASKS}/${piece.taskId}`)).json());
  } catch (error) {
    if (error.status !== 404) throw error;
    piece.state = "GONE";
    show(piece);
    save();
  }
}

let listedAt = -Infinity;
/** What this key has drawn elsewhere, and what became of what was drawn here. */
async function refreshList() {
  if (performance.now() - listedAt < 5000) return;
  listedAt = performance.now();
  const { data } = await (await call("GET", `${TASKS}?limit=${PIECES_MAX}`)).json();
  for (const { task_id: taskId, status } of data.filter((task) => !hidden.has(task.task_id))) {
    const piece = pieceOf(taskId);
    if (!piece) await adopt(taskId);
    else if (piece.state !== status && !following.has(piece)) await refresh(piece);
  }
  followAll();
}

async function adopt(taskId) {
  const { data } = await (await call("GET", `${TASKS}/${taskId}`)).json();
  if (pieceOf(taskId)) return; // it came another way meanwhile
  const piece = newPiece({ taskId, state: data.status, prompt: data.prompt ?? "", width: data.width, height: data.height,
    createdAt: Date.parse(data.created_at) || 0 });
  insert(piece);
  absorb(piece, data);
}

/* ---- sending ---- */

let sendQueue = Promise.resolve();
const waits = new Map(); // piece -> AbortController of its waiting

function draw(facts, { fromDesk = false } = {}) {
  const piece = newPiece({ ...facts, sendKey: randomId(), fromDesk });
  insert(piece);
  rearrange(() => show(piece));
  enqueue(piece);
  return piece;
}

/** One after the other, in order; the key in Idempotency-Key makes every repetition harmless. */
function enqueue(piece) {
  waits.set(piece, new AbortController());
  sendQueue = sendQueue.then(() => send(piece)).catch((error) => fail(piece, error));
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

const pictureField = (index) => (index ? `input_image_${index + 1}` : "input_image");

function parametersOf(piece) {
  const parameters = { prompt: piece.prompt, width: piece.width, height: piece.height };
  if (piece.seed !== null && piece.seed !== undefined) parameters.seed = piece.seed;
  if (piece.enhance) parameters.prompt_upsampling = true;
  return parameters;
}

async function bodyOf(piece) {
  const body = parametersOf(piece);
  for (const [index, { id, name }] of piece.pictures.entries()) {
    const blob = await shelf.get(id);
    if (!blob) throw new Error(`The picture ${name} is not kept in this browser any more. Add it again.`);
    body[pictureField(index)] = await dataUrl(blob);
  }
  return JSON.stringify(body);
}

async function send(piece) {
  const { signal } = waits.get(piece);
  signal.throwIfAborted();
  const body = await bodyOf(piece);
  const headers = { "content-type": "application/json", "idempotency-key": piece.sendKey };
  for (;;) {
    try {
      const answer = await (await call("POST", TASKS, { body, headers, signal })).json();
      waits.delete(piece);
      piece.note = undefined;
      absorb(piece, answer);
      if (signal.aborted) await cancel(piece);
      followAll();
      return;
    } catch (error) {
      if (error.status !== 429 && error.status !== 503) throw error;
      await waitFor(piece, error, signal);
    }
  }
}

async function waitFor(piece, error, signal) {
  const reason = error.status === 429 ? "Too many requests" : "The queue is full";
  say(`${reason}. It is sent again in ${Math.ceil(error.retryAfter ?? 5)} seconds.`);
  await countdown(error.retryAfter ?? 5, (left) => {
    piece.note = `${reason}; sent again in ${left} s`;
    show(piece);
  }, signal);
  piece.note = undefined;
}

function fail(piece, error) {
  waits.delete(piece);
  piece.note = undefined;
  if (error.status === 400 && piece.fromDesk && error.faults.length) {
    rearrange(() => { forgetPiece(piece); showEmpty(); });
    showFaults(error.faults);
    return;
  }
  piece.state = "FAILED";
  piece.error = error.name === "AbortError" ? "cancelled" : failureText(error);
  announce(piece);
  show(piece);
  save();
}

function failureText(error) {
  const faults = (error.faults ?? []).map(({ name, reason }) => saidOf(name, reason));
  return faults.length ? faults.join("; ") : error.message;
}

async function cancel(piece) {
  waits.get(piece)?.abort();
  piece.note = "Cancelling";
  show(piece);
  if (!piece.taskId || !isActive(piece)) return;
  try {
    await call("DELETE", `${TASKS}/${piece.taskId}`);
    await refresh(piece);
  } catch (error) {
    tell(sentence(error.message));
  }
}

/* ---- following ---- */

const following = new Set();
let glanceTimer = 0;

/** The oldest tasks, those that run or come next, have a stream each; the others are asked in turn. */
function followAll() {
  const active = pieces.filter((piece) => piece.taskId && isActive(piece)).reverse();
  for (const piece of active) {
    if (following.size < STREAMS_MAX && !following.has(piece)) follow(piece);
  }
  clearTimeout(glanceTimer);
  const rest = active.filter((piece) => !following.has(piece));
  if (rest.length) glanceTimer = setTimeout(() => glance(rest), 2000);
}

async function glance(rest) {
  const piece = rest.reduce((a, b) => ((a.glanced ?? 0) <= (b.glanced ?? 0) ? a : b));
  piece.glanced = performance.now();
  await refresh(piece).catch(() => {});
  followAll();
}

async function follow(piece) {
  following.add(piece);
  for (let failures = 0; isActive(piece);) {
    try {
      if (failures < 2) failures = (await stream(piece)) ? 0 : failures + 1;
      await refresh(piece);
      if (isActive(piece)) await sleep(1000);
    } catch (error) {
      await sleep(1000 * (error.retryAfter ?? 3));
    }
  }
  following.delete(piece);
  followAll();
}

/** Until the task is over or the stream breaks; the caller then asks for the task itself, which says more
 * than the last event. Returns whether it told anything. */
async function stream(piece) {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), STREAM_SILENCE_MS);
  };
  let told = false;
  heard();
  try {
    const response = await call("GET", `/v1/tasks/${piece.taskId}/events`,
      { headers: { accept: "text/event-stream" }, during: silence.signal });
    for await (const event of eventsOf(response, heard)) {
      if (event.name === "completed" || event.name === "failed") return true;
      told = takeEvent(piece, event) || told;
    }
  } catch { /* broken: the task itself is asked for next */
  } finally {
    clearTimeout(timer);
  }
  return told;
}

function takeEvent(piece, { name, data }) {
  if (name === "preview") {
    showPreview(piece, previewUrl(data));
    return true;
  }
  if (name !== "status" && name !== "progress") return false;
  const facts = JSON.parse(data);
  if (!FINAL.includes(facts.status)) absorb(piece, facts);
  return true;
}

function previewUrl(data) {
  const preview = JSON.parse(data);
  return `data:${preview.media_type};base64,${preview.data}`;
}

/* ---- views ---- */

const views = new Map(); // piece -> its parts on the page

function makeView(piece) {
  const root = $("piece-template").content.firstElementChild.cloneNode(true);
  const part = (name) => root.querySelector(name);
  const view = {
    root, canvas: part(".canvas"), blank: part(".blank"), preview: part(".preview"), picture: part(".picture"),
    ledge: part(".ledge"), title: part(".title"), fuller: part(".fuller"), details: part(".details"), actions: {},
  };
  for (const button of root.querySelectorAll("[data-do]")) view.actions[button.dataset.do] = button;
  view.title.id = `title-${piece.ref}`;
  root.firstElementChild.setAttribute("aria-labelledby", view.title.id);
  for (const button of Object.values(view.actions)) button.setAttribute("aria-describedby", view.title.id);
  view.canvas.addEventListener("click", () => openViewer(piece));
  part(".actions").addEventListener("click", (event) => {
    const action = event.target.closest("[data-do]")?.dataset.do;
    if (action && actions[action]) actions[action](piece);
  });
  view.picture.addEventListener("load", () => pictureLoaded(view));
  view.picture.addEventListener("error", () => pictureBroken(piece, view));
  views.set(piece, view);
  return view;
}

function place(piece, view) {
  const next = pieces.slice(pieces.indexOf(piece) + 1).map((other) => views.get(other)?.root).find((root) => root?.isConnected);
  $("pieces").insertBefore(view.root, next ?? null);
}

function show(piece) {
  if (!pieces.includes(piece)) return;
  const view = views.get(piece) ?? makeView(piece);
  if (!view.root.isConnected) {
    place(piece, view);
    showEmpty();
  }
  view.root.dataset.state = piece.state;
  view.canvas.style.setProperty("--ratio", (piece.width || 4) / (piece.height || 3));
  view.title.textContent = view.title.title = titleOf(piece);
  const fuller = piece.drawnPrompt && piece.drawnPrompt !== piece.prompt;
  view.fuller.hidden = !fuller;
  view.fuller.textContent = fuller ? `Drawn as: ${piece.drawnPrompt}` : "";
  view.details.textContent = detailsOf(piece);
  showProgress(piece, view);
  showPicture(piece, view);
  showActions(piece, view);
}

function showProgress(piece, view) {
  const done = piece.state === "COMPLETED" ? 1 : piece.nSteps ? piece.step / piece.nSteps : 0;
  view.preview.style.setProperty("--done", done);
  view.ledge.value = isPending(piece) ? piece.progress ?? 0 : 0;
  view.ledge.setAttribute("aria-label", isPending(piece) ? `Progress of ${shorten(titleOf(piece))}` : "");
  view.ledge.setAttribute("aria-hidden", String(!isPending(piece)));
  view.blank.textContent = blankText(piece);
}

function blankText(piece) {
  if (piece.state === "SENDING") return "Sending";
  if (piece.state === "CREATED") return "Waiting";
  if (piece.state === "IN_PROGRESS") return STAGES[piece.stage] ?? "Beginning";
  if (piece.state === "GONE") return "No longer on the server";
  if (piece.state === "FAILED") return piece.error === "cancelled" ? "Cancelled" : "Not drawn";
  return piece.expired ? "This picture has expired" : "";
}

function factsOf(piece) {
  const facts = [];
  if (piece.seed !== null && piece.seed !== undefined) facts.push(`seed\u00a0${piece.seed}`);
  if (piece.width) facts.push(`${piece.width}\u00a0×\u00a0${piece.height}`);
  if (piece.seconds !== undefined) facts.push(duration(piece.seconds));
  if (piece.cost) facts.push(credits(piece.cost));
  return facts.join("\u00a0· ");
}

function detailsOf(piece) {
  if (piece.note) return piece.note;
  switch (piece.state) {
  case "SENDING": return connection.back ? "It is sent when the server is back" : "Sending";
  case "CREATED": return queueText(piece.queue);
  case "IN_PROGRESS": return runningText(piece);
  case "FAILED": return piece.error === "cancelled" ? "Cancelled" : sentence(piece.error ?? "It could not be drawn");
  default: return factsOf(piece);
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

async function showPreview(piece, url) {
  const view = views.get(piece);
  if (!view) return;
  const coming = new Image();
  coming.src = url;
  await coming.decode().catch(() => {}); // so that nothing flickers when it is set
  if (!isActive(piece)) return;
  view.preview.src = url;
  view.preview.hidden = false;
}

function showPicture(piece, view) {
  view.canvas.disabled = !hasPicture(piece);
  view.canvas.setAttribute("aria-label", hasPicture(piece) ? `Look closer: ${shorten(titleOf(piece))}` : blankText(piece));
  if (!hasPicture(piece)) {
    view.picture.hidden = true;
    if (!isActive(piece)) view.preview.hidden = true;
    return;
  }
  if (view.picture.dataset.url === piece.url) return;
  view.picture.dataset.url = piece.url;
  view.picture.classList.add("coming");
  view.picture.hidden = false;
  view.picture.alt = titleOf(piece);
  view.picture.src = piece.url;
}

async function pictureLoaded(view) {
  view.picture.classList.remove("coming");
  await sleep(800);
  view.preview.hidden = true;
}

/** Expired, or the server is away: the task knows, and asking for it waits for the server. */
async function pictureBroken(piece, view) {
  const broken = piece.url;
  view.picture.hidden = true;
  if (!broken) return;
  if (view.brokenBefore === broken) {
    piece.url = undefined;
    piece.expired = true;
    save();
  } else {
    view.brokenBefore = broken;
    await refresh(piece).catch(() => {});
    delete view.picture.dataset.url; // once more
  }
  show(piece);
}

function showActions(piece, view) {
  const picture = hasPicture(piece);
  const over = !isPending(piece);
  const known = Boolean(piece.prompt);
  const wanted = { cancel: !over, again: over && known, vary: over && known, edit: picture, curl: known, download: picture,
    remove: over };
  for (const [name, button] of Object.entries(view.actions)) button.hidden = !wanted[name];
  if (picture) {
    view.actions.download.href = piece.url;
    view.actions.download.download = fileName(piece);
  }
}

const fileName = (piece) => `easel-${piece.seed ?? piece.taskId}.png`;

function showEmpty() {
  $("empty").hidden = pieces.length > 0;
}

/** A change of order, in which pictures glide to their new places where the browser can do that. */
function rearrange(change) {
  if (!document.startViewTransition || calm.matches || document.hidden) {
    change();
    return;
  }
  const named = pieces.slice(0, 8).map((piece) => views.get(piece)?.root).filter(Boolean);
  named.forEach((root, index) => { root.style.viewTransitionName = `piece-${index}`; });
  const moved = document.startViewTransition(change);
  moved.ready.catch(() => {}); // another came before it began
  const forgetNames = () => named.forEach((root) => { root.style.viewTransitionName = ""; });
  moved.finished.then(forgetNames, forgetNames);
}

const actions = {
  cancel,
  again: (piece) => redraw(piece, piece.seed),
  vary: (piece) => redraw(piece, null),
  edit: editPiece,
  curl: (piece) => copyCurl(piece),
  remove(piece) {
    if (piece.taskId) hidden.add(piece.taskId);
    memory.set("hidden", [...hidden].slice(-500));
    const next = views.get(piece).root.nextElementSibling ?? views.get(piece).root.previousElementSibling;
    rearrange(() => {
      forgetPiece(piece);
      showEmpty();
      (next?.querySelector(".canvas:enabled, .actions :not([hidden])") ?? $("prompt")).focus({ preventScroll: true });
    });
    say("Removed.");
  },
};

function redraw(piece, seed) {
  const { prompt, width, height, enhance, pictures } = piece;
  draw({ prompt, width, height, enhance, pictures, seed });
  revealNewest();
}

function revealNewest() {
  const behavior = calm.matches ? "auto" : "smooth";
  const target = narrow.matches ? $("wall") : document.documentElement;
  requestAnimationFrame(() => target.scrollIntoView({ block: "start", behavior }));
}

async function editPiece(piece) {
  try {
    const response = await fetch(piece.url);
    if (!response.ok) throw new Error("This picture has expired.");
    await addPicture(await response.blob(), fileName(piece), { first: true });
    $("prompt").focus();
    $("prompt").select();
    $("desk").scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
  } catch (error) {
    tell(error.message);
  }
}

const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlOf(piece) {
  const start = [`curl -sS ${shellQuoted(location.origin + TASKS)}`, '-H "x-magnific-api-key: $EASEL_KEY"',
    "-H 'content-type: application/json'"];
  const json = JSON.stringify(parametersOf(piece));
  if (!piece.pictures.length) return [...start, `-d ${shellQuoted(json)}`].join(" \\\n  ");
  // pictures are too long for a command line: the shell fills a here-document with them
  const fields = piece.pictures.map(({ name }, index) =>
    `"${pictureField(index)}":"$(base64 < ${shellQuoted(name)} | tr -d '\\n')"`);
  const text = json.slice(0, -1).replace(/[\\$`]/g, "\\$&");
  return `${[...start, "--data-binary @- <<EOF"].join(" \\\n  ")}\n${text},${fields.join(",")}}\nEOF\n`;
}

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // without TLS there is no clipboard but this
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("not allowed");
}

async function copyCurl(piece) {
  const asked = document.activeElement;
  try {
    await copyText(curlOf(piece));
    tell("Copied. Put your key into EASEL_KEY.");
  } catch {
    tell("The browser did not allow copying.");
  }
  asked?.focus();
}

function tick() {
  for (const piece of pieces) {
    if (isPending(piece) && views.has(piece)) views.get(piece).details.textContent = detailsOf(piece);
  }
}

/* ---- viewer ---- */

let viewed = null;
let openedFrom = null;

function openViewer(piece) {
  viewed = openedFrom = piece;
  showViewed();
  if (!$("viewer").open) $("viewer").showModal();
}

function showViewed() {
  const all = pieces.filter(hasPicture);
  const index = all.indexOf(viewed);
  $("view-picture").src = viewed.url;
  $("view-picture").alt = $("view-title").textContent = titleOf(viewed);
  $("view-details").textContent = factsOf(viewed);
  $("view-download").href = viewed.url;
  $("view-download").download = fileName(viewed);
  // not disabled: that would take the focus away, and the arrow keys with it
  $("view-newer").setAttribute("aria-disabled", String(index <= 0));
  $("view-older").setAttribute("aria-disabled", String(index >= all.length - 1));
}

function turn(by) {
  const all = pieces.filter(hasPicture);
  const next = all[all.indexOf(viewed) + by];
  if (!next) return;
  viewed = next;
  showViewed();
  say(`${shorten(titleOf(viewed))}, picture ${all.indexOf(viewed) + 1} of ${all.length}`);
}

function setUpViewer() {
  const viewer = $("viewer");
  let touchedAt = null;
  $("view-newer").addEventListener("click", () => turn(-1));
  $("view-older").addEventListener("click", () => turn(1));
  $("view-close").addEventListener("click", () => viewer.close());
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
  viewer.querySelector(".view").addEventListener("click", (event) => {
    if (event.target === event.currentTarget) viewer.close();
  });
  viewer.addEventListener("touchstart", (event) => { touchedAt = event.changedTouches[0].clientX; }, { passive: true });
  viewer.addEventListener("touchend", (event) => {
    const moved = event.changedTouches[0].clientX - touchedAt;
    if (Math.abs(moved) > 60 && event.changedTouches.length === 1) turn(moved > 0 ? -1 : 1);
  });
  viewer.addEventListener("close", () => {
    // the browser has given the focus back to where it was, and someone may be on their way already
    if (viewed !== openedFrom) views.get(viewed)?.canvas.focus();
  });
}

/* ---- desk ---- */

const FIELDS = {
  prompt: { fault: "prompt-error", input: "prompt", label: "The prompt" },
  width: { fault: "size-error", input: "width", label: "Width" },
  height: { fault: "size-error", input: "height", label: "Height" },
  seed: { fault: "seed-error", input: "seed", label: "The seed" },
  prompt_upsampling: { fault: "enhance-error", input: "enhance", label: "Enhancing" },
};
const seed = { locked: false, kept: "" };
let prices = null; // credits for a megapixel, if the server tells

const side = (name) => Number($(name).value);
const sideIsValid = (name) => Number.isInteger(side(name)) && side(name) >= SIDE_MIN && side(name) <= SIDE_MAX;

function clearFaults() {
  for (const fault of document.querySelectorAll("#desk .fault")) fault.textContent = "";
  for (const input of document.querySelectorAll("#desk [aria-invalid]")) input.removeAttribute("aria-invalid");
  for (const slot of document.querySelectorAll(".slot.wrong")) slot.classList.remove("wrong");
}

/** [{name, reason}] beside their fields, as the server words them. */
function showFaults(faults) {
  clearFaults();
  const said = faults.map(showFault);
  document.querySelector("#desk [aria-invalid=true], .slot.wrong .pick")?.focus();
  say(said.join(" "));
}

/** Most reasons go on with the field's name: "must be …", "is …". */
function saidOf(label, reason) {
  return /^(must|is|are|has|comes) /.test(reason) ? `${label} ${reason}` : `${label}: ${reason}`;
}

function showFault({ name, reason }) {
  const picture = /^input_image(?:_(\d))?$/.exec(name);
  const field = picture ? { fault: "pictures-error", label: `Picture ${picture[1] ?? 1}` }
    : FIELDS[name] ?? { fault: "form-error", label: name };
  const text = sentence(saidOf(field.label, reason));
  const place = $(field.fault);
  place.textContent += (place.textContent ? " " : "") + text;
  if (field.input) $(field.input).setAttribute("aria-invalid", "true");
  if (picture) $("slots").children[Number(picture[1] ?? 1) - 1]?.classList.add("wrong");
  return text;
}

function deskFaults() {
  const faults = [];
  const length = [...$("prompt").value].length;
  if (!$("prompt").value.trim()) faults.push({ name: "prompt", reason: "is missing: write what to draw" });
  if (length > PROMPT_MAX) faults.push({ name: "prompt", reason: `is too long: ${number(length)} of at most ${number(PROMPT_MAX)} characters` });
  for (const name of ["width", "height"]) {
    if (!sideIsValid(name)) faults.push({ name, reason: `must be a whole number from ${SIDE_MIN} to ${SIDE_MAX}` });
  }
  if (!/^\d*$/.test($("seed").value.trim()) || Number($("seed").value) > SEED_MAX) {
    faults.push({ name: "seed", reason: `must be a whole number from 0 to ${SEED_MAX}` });
  }
  return faults;
}

async function submitDesk(event) {
  event?.preventDefault();
  const faults = deskFaults();
  if (faults.length) {
    showFaults(faults);
    return;
  }
  clearFaults();
  if (!key.value) key.ask();
  const seedText = $("seed").value.trim();
  draw({
    prompt: $("prompt").value.trim(), width: side("width"), height: side("height"), enhance: $("enhance").checked,
    seed: seedText ? Number(seedText) : null, pictures: references.map(({ id, name }) => ({ id, name })),
  }, { fromDesk: true });
  rememberDesk();
  revealNewest();
}

function showSize() {
  for (const name of ["width", "height"]) {
    const slider = $(`${name}-slider`);
    if (sideIsValid(name)) slider.value = side(name);
    slider.style.setProperty("--filled", `${((slider.value - SIDE_MIN) / (SIDE_MAX - SIDE_MIN)) * 100}%`);
    slider.setAttribute("aria-valuetext", `${$(name).value} pixels`);
  }
  for (const radio of document.querySelectorAll("#shapes input")) {
    radio.checked = radio.value === `${side("width")}x${side("height")}`;
  }
  showMegapixels();
  $("empty-size").textContent = `${$("width").value} × ${$("height").value}`;
  if (sideIsValid("width") && sideIsValid("height")) {
    $("empty-canvas").style.setProperty("--ratio", side("width") / side("height"));
  }
}

function showMegapixels() {
  const megapixels = (side("width") * side("height")) / MEGAPIXEL;
  const parts = [`${number(megapixels, 2)} ${megapixels === 1 ? "megapixel" : "megapixels"}`];
  if (!sideIsValid("width") || !sideIsValid("height")) parts.length = 0;
  else if (prices) {
    const referenceMegapixels = references.reduce((sum, { pixels }) => sum + pixels / MEGAPIXEL, 0);
    const cost = Math.max(1, Math.ceil(megapixels)) * prices.output_mp + referenceMegapixels * prices.reference_mp;
    if (cost) parts.push(credits(cost));
  }
  $("megapixels").textContent = parts.join(", ");
}

function makeShapes() {
  for (const [name, width, height] of SHAPES) {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "shape", value: `${width}x${height}` });
    const glyph = document.createElement("i");
    glyph.style.aspectRatio = `${width} / ${height}`;
    glyph.style[width > height ? "width" : "height"] = width === height ? "1.6rem" : "2rem";
    label.className = "shape";
    label.title = `${width} × ${height}`;
    label.append(radio, glyph, name);
    radio.addEventListener("change", () => setSize(width, height));
    $("shapes").append(label);
  }
}

function setSize(width, height) {
  $("width").value = width;
  $("height").value = height;
  showSize();
  rememberDesk();
}

function setUpSize() {
  makeShapes();
  for (const name of ["width", "height"]) {
    $(name).addEventListener("input", () => { showSize(); rememberDesk(); });
    $(`${name}-slider`).addEventListener("input", () => {
      $(name).value = $(`${name}-slider`).value;
      showSize();
      rememberDesk();
    });
  }
}

function setSeedLock(locked) {
  seed.locked = locked;
  $("seed-lock").setAttribute("aria-pressed", String(locked));
}

function toggleSeedLock() {
  setSeedLock(!seed.locked);
  if (seed.locked) {
    const last = pieces.find((piece) => Number.isInteger(piece.seed))?.seed;
    $("seed").value = seed.kept || (last ?? crypto.getRandomValues(new Uint32Array(1))[0]);
    say(`Seed ${$("seed").value} is kept.`);
  } else {
    seed.kept = "";
    $("seed").value = "";
    say("Every picture gets a new seed.");
  }
  rememberDesk();
}

function setUpSeed() {
  $("seed-lock").addEventListener("click", toggleSeedLock);
  $("seed").addEventListener("input", () => {
    setSeedLock($("seed").value.trim() !== "");
    rememberDesk();
  });
}

function rememberDesk() {
  memory.set("desk", { prompt: $("prompt").value, width: $("width").value, height: $("height").value, seed: $("seed").value,
    enhance: $("enhance").checked });
}

function restoreDesk() {
  const desk = { prompt: "", width: 1024, height: 768, seed: "", enhance: false, ...memory.get("desk") };
  for (const name of ["prompt", "width", "height", "seed"]) $(name).value = desk[name];
  $("enhance").checked = desk.enhance;
  setSeedLock(desk.seed !== "");
  showSize();
}

function makeExamples() {
  const svgNode = (name, attributes) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [attribute, value] of Object.entries(attributes)) node.setAttribute(attribute, value);
    return node;
  };
  for (const [text, ground, thing] of EXAMPLES) {
    const daub = svgNode("svg", { viewBox: "0 0 26 26", "aria-hidden": "true" });
    daub.append(svgNode("path", { fill: ground, d: "M13 1c5 0 8 1 10 4s2 7 2 9-2 8-7 10-11 1-14-2S0 15 2 9 8 1 13 1z" }),
      svgNode("circle", { fill: thing, cx: 13.5, cy: 13, r: 5 }));
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(daub, text);
    button.addEventListener("click", () => takeExample(text));
    const item = document.createElement("li");
    item.append(button);
    $("examples").append(item);
  }
}

function takeExample(text) {
  $("prompt").value = text;
  clearFaults();
  rememberDesk();
  $("draw").focus();
  say(`The prompt is: ${text}. Press Draw.`);
}

function setUpDesk() {
  if (/Mac|iPhone|iPad/.test(navigator.platform)) $("draw-keys").textContent = "⌘ ↵";
  setUpSize();
  setUpSeed();
  makeExamples();
  restoreDesk();
  $("desk").addEventListener("submit", submitDesk);
  $("prompt").addEventListener("input", rememberDesk);
  $("enhance").addEventListener("change", rememberDesk);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !document.querySelector("dialog[open]")) submitDesk(event);
  });
}

/* ---- pictures ---- */

let references = []; // {id, name, bitmap's thumbnail, pixels}, in their order

function canvasOf(bitmap, width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, width, height);
  return canvas;
}

const encoded = (canvas, type) => new Promise((resolve) => { canvas.toBlob(resolve, type, 0.92); });

/** As the API takes it: JPEG, PNG and WebP as they are, others as PNG, very large ones smaller. */
async function acceptable(blob, bitmap) {
  const pixels = bitmap.width * bitmap.height;
  const ratio = Math.max(bitmap.width, bitmap.height) / Math.min(bitmap.width, bitmap.height);
  if (Math.min(bitmap.width, bitmap.height) < 64) throw new Error("is too small: at least 64 pixels a side");
  if (ratio > 8) throw new Error("is too long and thin: at most 8 to 1");
  if (blob.size > PICTURE_BYTES_MAX || pixels > PICTURE_PIXELS_MAX) {
    const scale = Math.min(1, Math.sqrt(16e6 / pixels));
    return encoded(canvasOf(bitmap, Math.round(bitmap.width * scale), Math.round(bitmap.height * scale)), "image/jpeg");
  }
  if (["image/jpeg", "image/png", "image/webp"].includes(blob.type)) return blob;
  return encoded(canvasOf(bitmap, bitmap.width, bitmap.height), "image/png");
}

function thumbnail(bitmap) {
  const edge = Math.min(bitmap.width, bitmap.height);
  const canvas = Object.assign(document.createElement("canvas"), { width: 160, height: 160 });
  canvas.getContext("2d").drawImage(bitmap, (bitmap.width - edge) / 2, (bitmap.height - edge) / 2, edge, edge, 0, 0, 160, 160);
  return canvas;
}

async function addPicture(blob, name, { first = false } = {}) {
  if (references.length === PICTURES_MAX && !first) throw new Error(`${name} is one too many: at most ${PICTURES_MAX}.`);
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error(`${name} is not a picture that this browser can read.`);
  });
  const accepted = await acceptable(blob, bitmap).catch((error) => { throw new Error(`${name} ${error.message}.`); });
  const reference = { id: randomId(), name, thumbnail: thumbnail(bitmap), pixels: bitmap.width * bitmap.height };
  bitmap.close();
  await shelf.put(reference.id, accepted);
  if (first) references = [reference, ...references].slice(0, PICTURES_MAX);
  else references.push(reference);
  showSlots();
  say(`${name} is picture ${references.indexOf(reference) + 1} to work from.`);
}

async function addPictures(files) {
  $("pictures-error").textContent = "";
  for (const file of files) {
    try {
      await addPicture(file, file.name || "pasted.png");
    } catch (error) {
      $("pictures-error").textContent = error.message;
      say(error.message);
    }
  }
}

function removePicture(index) {
  const [gone] = references.splice(index, 1);
  $("pictures-error").textContent = "";
  showSlots();
  $("slots").children[index].querySelector(".pick").focus();
  say(`${gone.name} is removed.`);
}

function makeSlots() {
  for (let index = 0; index < PICTURES_MAX; index++) {
    const slot = $("slot-template").content.firstElementChild.cloneNode(true);
    slot.querySelector(".pick").addEventListener("click", () => $("picture-files").click());
    slot.querySelector(".pick").addEventListener("keydown", (event) => {
      if ((event.key === "Delete" || event.key === "Backspace") && references[index]) removePicture(index);
    });
    slot.querySelector(".drop").addEventListener("click", () => removePicture(index));
    $("slots").append(slot);
  }
  showSlots();
}

function showSlots() {
  for (const [index, slot] of [...$("slots").children].entries()) {
    const reference = references[index];
    const pick = slot.querySelector(".pick");
    const canvas = slot.querySelector("canvas");
    slot.classList.toggle("full", Boolean(reference));
    slot.classList.remove("wrong");
    canvas.hidden = !reference;
    slot.querySelector(".drop").hidden = !reference;
    pick.disabled = index > references.length;
    pick.setAttribute("aria-label", reference ? `Picture ${index + 1}: ${reference.name}` : `Add picture ${index + 1}`);
    pick.title = reference?.name ?? "";
    slot.querySelector(".drop").setAttribute("aria-label", reference ? `Remove picture ${index + 1}, ${reference.name}` : "");
    if (reference) canvas.getContext("2d").drawImage(reference.thumbnail, 0, 0);
  }
  showMegapixels();
}

const isImage = (file) => file.type.startsWith("image/");

/** A picture dragged from the wall comes as its address. */
async function droppedFiles(transfer) {
  const files = [...transfer.files].filter(isImage);
  const address = transfer.getData("text/uri-list").split("\n")[0];
  if (files.length || !address) return files;
  const url = new URL(address, location.href);
  if (!url.pathname.startsWith("/v1/files/")) return [];
  const response = await fetch(url.pathname + url.search);
  const piece = pieces.find((one) => one.url === url.pathname + url.search);
  return response.ok ? [new File([await response.blob()], piece ? fileName(piece) : "picture.png")] : [];
}

function setUpPictures() {
  makeSlots();
  $("picture-files").addEventListener("change", async () => {
    await addPictures([...$("picture-files").files]);
    $("picture-files").value = "";
  });
  document.addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files].filter(isImage);
    if (!files.length || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    addPictures(files);
  });
  setUpDropping();
}

function setUpDropping() {
  const wanted = (event) => ["Files", "text/uri-list"].some((type) => event.dataTransfer?.types.includes(type));
  document.addEventListener("dragover", (event) => {
    if (!wanted(event)) return;
    event.preventDefault();
    $("drop-here").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) $("drop-here").hidden = true;
  });
  document.addEventListener("dragend", () => { $("drop-here").hidden = true; });
  document.addEventListener("drop", async (event) => {
    $("drop-here").hidden = true;
    if (!wanted(event)) return;
    event.preventDefault();
    const files = await droppedFiles(event.dataTransfer);
    if (files.length) await addPictures(files);
    else tell("There was no picture in that.");
  });
}

/* ---- key ---- */

const key = {
  value: "",
  wait: null, // a promise for a key that works, while there is none
  resolve: null,

  /** Resolves when there is a key to try. */
  known() {
    if (this.value) return null;
    this.wait ??= new Promise((resolve) => { this.resolve = resolve; });
    return this.wait;
  },
  accept(value) {
    this.value = value;
    memory.set("key", value);
    this.resolve?.();
    this.wait = this.resolve = null;
  },
  /** The server did not know it. `used` may be an older one than what was typed in meanwhile. */
  refused(used) {
    if (used !== this.value) return;
    this.value = "";
    memory.remove("key");
    this.ask("The server does not know this key. It may have been revoked, or mistyped.");
  },
  ask(problem = "") {
    const known = Boolean(this.value);
    $("key-title").textContent = known ? "Your key" : "Your key, please";
    $("key-intro").hidden = known;
    $("key").value = this.value;
    $("key-forget").hidden = $("key-close").hidden = !known;
    $("key-use").hidden = known; // until another one is typed
    $("usage").hidden = true;
    showKeyProblem(problem);
    if (!$("key-dialog").open) $("key-dialog").showModal();
    $("key").focus();
    if (known) showUsage(this.value);
  },
};

function showKeyProblem(problem) {
  $("key-error").textContent = problem;
  $("key").toggleAttribute("aria-invalid", Boolean(problem));
  if (problem) say(problem);
}

/** The answer of /v1/usage; throws what is to be said if it does not work. */
async function checkKey(value) {
  let response;
  try {
    response = await fetch("/v1/usage", { cache: "no-store", headers: { "x-magnific-api-key": value } });
  } catch {
    throw new Error("The server is away just now. Try again in a moment.");
  }
  if (response.status === 401) throw new Error("The server does not know this key. Is it complete?");
  if (!response.ok) throw new Error(`The server could not check the key (${response.status}). Try again in a moment.`);
  return response.json();
}

async function useKey(event) {
  event.preventDefault();
  const value = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(value)) {
    showKeyProblem(value ? "A key has no spaces or accents. Copy it once more." : "Paste the key here.");
    $("key").focus();
    return;
  }
  $("key-use").disabled = true;
  try {
    takeUsage(await checkKey(value));
    const first = !key.value;
    key.accept(value);
    showKeyProblem("");
    $("key-dialog").close();
    if (first) tell("The key works.");
    meet();
    $("prompt").focus();
  } catch (error) {
    showKeyProblem(error.message);
    $("key").focus();
  } finally {
    $("key-use").disabled = false;
  }
}

function takeUsage(usage) {
  prices = usage.prices ?? null;
  showMegapixels();
  const rows = [["Pictures", number(usage.total.pictures)],
    ["Megapixels", number(usage.total.megapixels, 1)],
    ["Credits left", usage.credits_left === null ? "no limit" : number(usage.credits_left, 2)]];
  $("usage-rows").replaceChildren(...rows.map(([name, value]) => {
    const group = document.createElement("div");
    group.append(Object.assign(document.createElement("dt"), { textContent: name }),
      Object.assign(document.createElement("dd"), { textContent: value }));
    return group;
  }));
  $("usage").hidden = false;
}

async function showUsage(value) {
  try {
    takeUsage(await checkKey(value));
  } catch (error) {
    showKeyProblem(error.message);
  }
}

/** On a shared computer the next one should find nothing: the pictures' parameters go, too. */
function forgetKey() {
  clearTimeout(saveTimer);
  pieces = [];
  for (const name of ["key", "pieces", "hidden", "desk"]) memory.remove(name);
  shelf.keepOnly(new Set()).finally(() => location.reload());
}

/** A key may come in the address, which then forgets it. */
function keyFromAddress() {
  const found = new URLSearchParams(location.hash.slice(1)).get("key");
  if (!found) return "";
  history.replaceState(null, "", location.pathname + location.search);
  return found.trim();
}

function setUpKey() {
  key.value = keyFromAddress() || memory.get("key", "");
  if (key.value) memory.set("key", key.value);
  $("key-form").addEventListener("submit", useKey);
  $("key").addEventListener("input", () => { $("key-use").hidden = false; });
  $("key-button").addEventListener("click", () => key.ask());
  $("key-close").addEventListener("click", () => $("key-dialog").close());
  $("key-forget").addEventListener("click", forgetKey);
  $("key-show").addEventListener("click", () => {
    const shown = $("key").type === "password";
    $("key").type = shown ? "text" : "password";
    $("key-show").setAttribute("aria-pressed", String(shown));
  });
}

/* ---- theme ---- */

const THEMES = ["auto", "light", "dark"];

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const names = { auto: "Auto", light: "Light", dark: "Dark" };
  $("theme-text").textContent = names[theme];
  $("theme-button").setAttribute("aria-label", `Theme: ${theme === "auto" ? "as the system has it" : theme}`);
  memory.set("theme", theme);
}

function setUpTheme() {
  const kept = memory.get("theme", "auto");
  setTheme(THEMES.includes(kept) ? kept : "auto");
  $("theme-button").addEventListener("click", () => {
    const now = THEMES.indexOf(document.documentElement.dataset.theme);
    setTheme(THEMES[(now + 1) % THEMES.length]);
  });
}

/* ---- start ---- */

/** What is asked of the server once there is a key. */
async function meet() {
  try {
    await refreshList();
    await nameModel();
  } catch (error) {
    tell(sentence(error.message));
  }
}

async function nameModel() {
  const response = await call("GET", "/v1/models", { headers: { authorization: `Bearer ${key.value}` } });
  const { data } = await response.json();
  connection.model = data[0]?.id ?? "";
  if ($("server").dataset.state === "ready") showProbe("ready");
}

function restorePieces() {
  pieces = memory.get("pieces", []).filter((piece) => piece?.ref && piece.prompt !== undefined);
  for (const piece of pieces) show(piece);
  showEmpty();
  for (const piece of pieces.filter((one) => one.state === "SENDING").reverse()) sendAgain(piece);
  shelf.keepOnly(new Set(pieces.flatMap((piece) => piece.pictures.map(({ id }) => id))));
}

/** It was on its way when the page was left. */
function sendAgain(piece) {
  if (Date.now() - piece.createdAt < SEND_AGAIN_MS) enqueue(piece);
  else fail(piece, new Error("it could not be sent in time"));
}

function start() {
  setUpTheme();
  setUpKey();
  setUpDesk();
  setUpPictures();
  setUpViewer();
  restorePieces();
  $("away-now").addEventListener("click", () => connection.tryNow?.());
  addEventListener("pagehide", saveNow);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && key.value) refreshList().catch(() => {});
  });
  setInterval(tick, 1000);
  watchServer();
  if (key.value) {
    checkKey(key.value).then(takeUsage).catch(() => {});
    meet().then(followAll);
  } else {
    key.ask();
  }
}

start();
