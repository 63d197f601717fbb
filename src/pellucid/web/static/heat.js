// Pictures of numbers on a canvas, with scales that every colour vision reads.

// Crameri's "vik" in nine steps (two-sided: below and above zero) and "batlow" (one-sided), even in brightness
export const TWO_SIDED = ["#001261", "#033e7d", "#1e6f9d", "#71a8c4", "#ece5e0", "#d9a27e", "#c27143", "#a13a12", "#590008"];
export const ONE_SIDED = ["#011959", "#103f60", "#1c5a62", "#3c6d56", "#687b3e", "#9d892b", "#d29343", "#f8a17b", "#fbd0e0"];
// black over red to white: nothing is dark, too much is fire
export const FIRE = ["#000004", "#1b0c41", "#4a0c6b", "#781c6d", "#a52c60", "#cf4446", "#ed6925", "#fb9b06", "#fcffa4"];

const tables = new Map();

/** A scale as 256 colours: Uint8Array of r, g, b. */
export function ramp(stops) {
  if (tables.has(stops)) return tables.get(stops);
  const rgb = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
  const out = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const at = (i / 255) * (rgb.length - 1), k = Math.min(Math.floor(at), rgb.length - 2), f = at - k;
    for (let c = 0; c < 3; c++) out[3 * i + c] = Math.round(rgb[k][c] * (1 - f) + rgb[k + 1][c] * f);
  }
  tables.set(stops, out);
  return out;
}

/** Numbers as bytes 0..255: from low..high. */
export function scaled(values, low, high) {
  const out = new Uint8Array(values.length), span = high - low || 1;
  for (let i = 0; i < values.length; i++) out[i] = Math.max(0, Math.min(255, Math.round(((values[i] - low) / span) * 255)));
  return out;
}

/** Bytes that came as base64. */
export function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

/** Draw levels (bytes, row by row from the top, width x height) over the whole canvas; smooth: blurred when enlarged. */
export function draw(canvas, levels, width, height, stops = TWO_SIDED, smooth = false) {
  const small = new OffscreenCanvas(width, height), context = small.getContext("2d");
  const image = context.createImageData(width, height), colours = ramp(stops);
  for (let i = 0; i < width * height; i++) {
    const v = 3 * levels[i];
    image.data[4 * i] = colours[v];
    image.data[4 * i + 1] = colours[v + 1];
    image.data[4 * i + 2] = colours[v + 2];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  const on = canvas.getContext("2d");
  on.imageSmoothingEnabled = smooth;
  on.drawImage(small, 0, 0, canvas.width, canvas.height);
}
