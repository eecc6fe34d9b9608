/**
 * Resizing that gives the bytes of Pillow's `Image.resize`, with which models are trained and
 * measured. A canvas scales by a filter of each browser's own, without antialiasing in some.
 *
 * Two passes, each with 22-bit fixed-point weights and rounding to 8 bits, as in the
 * `Resample.c` of Pillow 13.
 */

/** 8-bit pixels, rows first, channels together. */
export interface Pixels {
  data: Uint8Array | Uint8ClampedArray;
  width: number;
  height: number;
  channels: number;
}

export type Interpolation = "nearest" | "bilinear" | "bicubic" | "lanczos" | "box" | "hamming";

const PRECISION = 22;
const BICUBIC_A = -0.5;

interface Filter {
  support: number;
  weight: (x: number) => number;
}

function sinc(x: number): number {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

function bicubic(x: number): number {
  const d = Math.abs(x);
  if (d < 1) return ((BICUBIC_A + 2) * d - (BICUBIC_A + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * BICUBIC_A : 0;
}

const FILTERS: Record<Exclude<Interpolation, "nearest">, Filter> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (x) => (Math.abs(x) >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * Math.cos(x * Math.PI))),
  },
  bicubic: { support: 2, weight: bicubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
};

/** Source positions and fixed-point weights of each target position along one axis. */
interface Taps {
  start: Int32Array;
  weights: Int32Array[];
}

function taps(from: number, to: number, filter: Filter): Taps {
  const scale = from / to;
  const stretch = Math.max(scale, 1);
  const support = filter.support * stretch;
  const start = new Int32Array(to);
  const weights: Int32Array[] = [];
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(from, Math.trunc(centre + support + 0.5));
    const real = new Float64Array(end - first);
    let sum = 0;
    for (let j = 0; j < real.length; j++) {
      real[j] = filter.weight((j + first - centre + 0.5) / stretch);
      sum += real[j]!;
    }
    const fixed = new Int32Array(real.length);
    for (let j = 0; j < real.length; j++) {
      const value = (sum === 0 ? real[j]! : real[j]! / sum) * (1 << PRECISION);
      fixed[j] = Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
    }
    start[i] = first;
    weights.push(fixed);
  }
  return { start, weights };
}

/** Resample one axis: `step` bytes lie between neighbours, `lines` are the starts of its lines. */
function pass(source: Pixels, size: number, along: "x" | "y", filter: Filter): Pixels {
  const { data, width, height, channels } = source;
  const horizontal = along === "x";
  const { start, weights } = taps(horizontal ? width : height, size, filter);
  const out = horizontal ? { width: size, height } : { width, height: size };
  const result = new Uint8ClampedArray(out.width * out.height * channels);
  const step = horizontal ? channels : width * channels;
  let at = 0;
  for (let y = 0; y < out.height; y++) {
    for (let x = 0; x < out.width; x++) {
      const target = horizontal ? x : y;
      const origin = horizontal
        ? (y * width + start[target]!) * channels
        : (start[target]! * width + x) * channels;
      const kernel = weights[target]!;
      for (let c = 0; c < channels; c++) {
        let sum = 1 << (PRECISION - 1);
        for (let k = 0; k < kernel.length; k++) sum += data[origin + c + k * step]! * kernel[k]!;
        result[at++] = sum >> PRECISION;
      }
    }
  }
  return { data: result, ...out, channels };
}

function nearest(source: Pixels, width: number, height: number): Pixels {
  const { channels } = source;
  const result = new Uint8ClampedArray(width * height * channels);
  const columns = nearestPositions(source.width, width);
  const rows = nearestPositions(source.height, height);
  let at = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * source.width + column) * channels;
      for (let c = 0; c < channels; c++) result[at++] = source.data[from + c]!;
    }
  }
  return { data: result, width, height, channels };
}

/** Pillow adds the step up instead of multiplying; at exact halves this decides. */
function nearestPositions(from: number, to: number): Int32Array {
  const step = from / to;
  const found = new Int32Array(to);
  let at = step * 0.5;
  for (let i = 0; i < to; i++) {
    found[i] = Math.min(from - 1, Math.trunc(at));
    at += step;
  }
  return found;
}

/**
 * Resize an image.
 *
 * @param source The image.
 * @param width Target width in pixels, at least 1.
 * @param height Target height in pixels, at least 1.
 * @param interpolation The filter, antialiased when shrinking (but `nearest`).
 * @returns The image; `source` itself where it has the size already.
 */
export function resize(
  source: Pixels,
  width: number,
  height: number,
  interpolation: Interpolation,
): Pixels {
  if (interpolation === "nearest") {
    const same = source.width === width && source.height === height;
    return same ? source : nearest(source, width, height);
  }
  const filter = FILTERS[interpolation];
  const across = (image: Pixels) =>
    image.width === width ? image : pass(image, width, "x", filter);
  const down = (image: Pixels) =>
    image.height === height ? image : pass(image, height, "y", filter);
  // Pillow since version 13: a height that shrinks far more than the width goes first.
  const tall = source.height - height > 2 * Math.max(0, source.width - width);
  return tall ? across(down(source)) : down(across(source));
}
