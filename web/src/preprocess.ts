/** From pixels to a model's input: the same arithmetic as `sprat.data.preprocess` in Python. */

import { checkPixels } from "./pixels.js";
import { type Interpolation, type Pixels, resize } from "./resample.js";
import type { Tensor } from "./tensors.js";

/** How an image becomes the input; as Sprat writes it into `run.json`. */
export interface Preprocess {
  input: string;
  /** Height and width after resizing. */
  size: [number, number];
  resize: "stretch" | "shortest" | "letterbox";
  /** Height and width of the centre crop. */
  crop: [number, number] | null;
  channels: "rgb" | "bgr" | "gray";
  layout: "nchw" | "nhwc";
  /** Factor on pixel values 0 to 255. */
  scale: number;
  mean: number[];
  std: number[];
  interpolation: Interpolation;
  dtype: string;
  /** Pixel value around a letterboxed image. */
  pad: number;
}

/** Python's `round`: halves go to the even neighbour. */
function round(value: number): number {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest === 0.5) return down % 2 === 0 ? down : down + 1;
  return rest < 0.5 ? down : down + 1;
}

function centre(image: Pixels, height: number, width: number): Pixels {
  if (image.width === width && image.height === height) return image;
  const left = Math.floor((image.width - width) / 2);
  const top = Math.floor((image.height - height) / 2);
  const { channels } = image;
  const data = new Uint8ClampedArray(width * height * channels);
  for (let y = 0; y < height; y++) {
    const from = ((y + top) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { data, width, height, channels };
}

function letterbox(image: Pixels, how: Preprocess): Pixels {
  const [height, width] = how.size;
  const factor = Math.min(width / image.width, height / image.height);
  const inner = resize(
    image,
    Math.max(1, round(image.width * factor)),
    Math.max(1, round(image.height * factor)),
    how.interpolation,
  );
  const { channels } = inner;
  const data = new Uint8ClampedArray(width * height * channels).fill(how.pad);
  const left = Math.floor((width - inner.width) / 2);
  const top = Math.floor((height - inner.height) / 2);
  for (let y = 0; y < inner.height; y++) {
    const row = inner.data.subarray(y * inner.width * channels, (y + 1) * inner.width * channels);
    data.set(row, ((y + top) * width + left) * channels);
  }
  return { data, width, height, channels };
}

/** Bring an image to `how.size`, then to `how.crop`. */
export function fitted(image: Pixels, how: Preprocess): Pixels {
  const [height, width] = how.size;
  let found = image;
  if (image.width !== width || image.height !== height) {
    if (how.resize === "stretch") found = resize(image, width, height, how.interpolation);
    else if (how.resize === "letterbox") found = letterbox(image, how);
    else {
      const flat = image.width * height > image.height * width;
      const covered = flat
        ? [Math.floor((height * image.width) / image.height), height]
        : [width, Math.floor((width * image.height) / image.width)];
      checkPixels(covered[0]!, covered[1]!);
      found = centre(resize(image, covered[0]!, covered[1]!, how.interpolation), height, width);
    }
  }
  return how.crop === null ? found : centre(found, how.crop[0], how.crop[1]);
}

/** Pillow's luma of ITU-R 601-2 in 16-bit fixed point. */
function luma(image: Pixels): Pixels {
  if (image.channels === 1) return image;
  const data = new Uint8ClampedArray(image.width * image.height);
  for (let i = 0, from = 0; i < data.length; i++, from += image.channels) {
    const [r, g, b] = [image.data[from]!, image.data[from + 1]!, image.data[from + 2]!];
    data[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16;
  }
  return { data, width: image.width, height: image.height, channels: 1 };
}

type Values = Float32Array | Uint8Array | Float16Array;

function empty(dtype: string, length: number): Values {
  if (dtype === "float32") return new Float32Array(length);
  if (dtype === "uint8") return new Uint8Array(length);
  if (dtype === "float16" && "Float16Array" in globalThis) return new Float16Array(length);
  throw new Error(`images cannot be given as ${dtype} here`);
}

/** `(pixel * scale - mean) / std` in float32 for the 256 pixel values of one channel. */
function table(how: Preprocess, channel: number): Float32Array {
  const values = new Float32Array(256);
  const { fround } = Math;
  const [scale, mean, std] = [how.scale, how.mean[channel]!, how.std[channel]!].map(fround);
  for (let pixel = 0; pixel < 256; pixel++) {
    values[pixel] =
      how.dtype === "uint8" ? pixel : fround(fround(fround(pixel * scale!) - mean!) / std!);
  }
  return values;
}

/**
 * Make a model's input of an image.
 *
 * @param image 8-bit RGB or RGBA (the alpha is ignored: lay it on white first), or grey.
 * @param how The model's preprocessing.
 * @returns `[1, C, H, W]` or `[1, H, W, C]`.
 * @throws {SpratError} It is so long and thin that covering the size would enlarge it beyond what
 *   is read.
 */
export function toTensor(image: Pixels, how: Preprocess): Tensor {
  const sized = fitted(image, how);
  const source = how.channels === "gray" ? luma(sized) : sized;
  const { width, height } = source;
  const count = how.mean.length;
  const data = empty(how.dtype, count * width * height);
  const plane = width * height;
  for (let channel = 0; channel < count; channel++) {
    const values = table(how, channel);
    const colour = source.channels === 1 ? 0 : how.channels === "bgr" ? 2 - channel : channel;
    const [offset, step] = how.layout === "nchw" ? [channel * plane, 1] : [channel, count];
    for (let i = 0; i < plane; i++) {
      data[offset + i * step] = values[source.data[i * source.channels + colour]!]!;
    }
  }
  const dims = how.layout === "nchw" ? [1, count, height, width] : [1, height, width, count];
  return { type: how.dtype, dims, data };
}
