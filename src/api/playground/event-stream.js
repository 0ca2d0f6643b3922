// SPDX-License-Identifier: MIT
/* The server-sent events of a task. */
import { call } from "./api.js";

const SILENCE_MS = 45000; // the server sends a comment every now and then: longer than that, it is gone

function eventOf(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") event.name = value;
    if (field === "data") event.data += (event.data ? "\n" : "") + value;
  }
  return event;
}

async function* eventsOf(response, heard) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      const blocks = (text + value).split(/\r\n\r\n|\n\n|\r\r/);
      text = blocks.pop();
      for (const block of blocks) yield eventOf(block);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** {name, data} of each, until the stream ends; throws when it breaks or falls silent. */
export async function* taskEvents(taskId) {
  const silence = new AbortController();
  let timer = 0;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_MS);
  };
  heard();
  try {
    const response = await call("GET", `/v1/tasks/${taskId}/events`,
      { headers: { accept: "text/event-stream" }, during: silence.signal });
    yield* eventsOf(response, heard);
  } finally {
    clearTimeout(timer);
  }
}
