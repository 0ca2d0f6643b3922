// SPDX-License-Identifier: MIT
/* A command for the shell that draws a piece. */
import { TASKS } from "./api.js";
import { hasPicture, pieceOf } from "./pieces.js";
import { parametersOf, pictureField } from "./sending.js";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Where the shell reads a reference: what was drawn here comes from the server, anything else is a file. */
function sourceOf({ name, taskId }) {
  const drawn = taskId && pieceOf(taskId);
  if (drawn && hasPicture(drawn)) return { reading: `curl -sS ${quoted(location.origin + drawn.url)} | base64` };
  return { reading: `base64 < ${quoted(name)}`, file: name };
}

/** {command, files: the names of those that it reads} */
export function curlOf(piece) {
  const start = [`curl -sS ${quoted(location.origin + TASKS)}`, '-H "x-magnific-api-key: $EASEL_KEY"',
    "-H 'content-type: application/json'"];
  const json = JSON.stringify(parametersOf(piece));
  if (!piece.pictures.length) return { command: [...start, `-d ${quoted(json)}`].join(" \\\n  "), files: [] };
  // pictures are too long for a command line: the shell fills a here-document with them
  const sources = piece.pictures.map(sourceOf);
  const fields = sources.map(({ reading }, index) => `"${pictureField(index)}":"$(${reading} | tr -d '\\n')"`);
  const text = json.slice(0, -1).replace(/[\\$`]/g, "\\$&");
  return {
    command: `${[...start, "--data-binary @- <<EOF"].join(" \\\n  ")}\n${text},${fields.join(",")}}\nEOF\n`,
    files: sources.flatMap(({ file }) => file ?? []),
  };
}
