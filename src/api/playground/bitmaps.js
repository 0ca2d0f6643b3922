// SPDX-License-Identifier: MIT
/* Reference pictures as the API takes them, and their thumbnails. */

const BYTES_MAX = 20e6;
const PIXELS_MAX = 64e6;
const PIXELS_WHEN_TOO_LARGE = 16e6;
const EDGE_MIN = 64;
const RATIO_MAX = 8;
const THUMBNAIL_EDGE = 160;
const MINIATURE_EDGE = 72; // of which a hundred pieces' fit into localStorage

function canvasOf(width, height, ...drawImageArguments) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  canvas.getContext("2d").drawImage(...drawImageArguments);
  return canvas;
}

function encoded(bitmap, width, height, type) {
  const canvas = canvasOf(width, height, bitmap, 0, 0, width, height);
  return new Promise((resolve) => { canvas.toBlob(resolve, type, 0.92); });
}

/** JPEG, PNG and WebP as they are, others as PNG, very large ones smaller. Throws what goes on with the name. */
async function acceptable(blob, bitmap) {
  const { width, height } = bitmap;
  if (Math.min(width, height) < EDGE_MIN) throw new Error(`is too small: at least ${EDGE_MIN} pixels a side`);
  if (Math.max(width, height) > RATIO_MAX * Math.min(width, height)) {
    throw new Error(`is too long and thin: at most ${RATIO_MAX} to 1`);
  }
  if (blob.size > BYTES_MAX || width * height > PIXELS_MAX) {
    const scale = Math.min(1, Math.sqrt(PIXELS_WHEN_TOO_LARGE / (width * height)));
    return encoded(bitmap, Math.round(width * scale), Math.round(height * scale), "image/jpeg");
  }
  if (["image/jpeg", "image/png", "image/webp"].includes(blob.type)) return blob;
  return encoded(bitmap, width, height, "image/png");
}

/** The square in the middle of it. */
function squareOf(source, edge) {
  const { width, height } = source;
  const side = Math.min(width, height);
  return canvasOf(edge, edge, source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, edge, edge);
}

/** {accepted: a Blob for the API, thumbnail: a canvas, miniature: a short address, pixels}; throws a sentence about
 * the picture. */
export async function readPicture(blob, name) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error(`${name} is not a picture that this browser can read.`);
  });
  try {
    const accepted = await acceptable(blob, bitmap).catch((error) => { throw new Error(`${name} ${error.message}.`); });
    const thumbnail = squareOf(bitmap, THUMBNAIL_EDGE);
    const miniature = squareOf(thumbnail, MINIATURE_EDGE).toDataURL("image/jpeg", 0.8);
    return { accepted, thumbnail, miniature, pixels: bitmap.width * bitmap.height };
  } finally {
    bitmap.close();
  }
}
