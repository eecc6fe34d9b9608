/** Decode an image as the page sees it. */

import { SpratError } from "./failure.js";
import type { Pixels } from "./resample.js";

/** As many as Sprat reads in Python; a small file can unpack to gigabytes. */
const MAX_PIXELS = 64_000_000;

/**
 * Refuse more pixels than are read, of an image or of what it is enlarged to.
 *
 * @throws {SpratError} There are more.
 */
export function checkPixels(width: number, height: number): void {
  if (width * height <= MAX_PIXELS) return;
  throw new SpratError("image", `${width} x ${height} pixels: too many`);
}

/** An image file (PNG, JPEG, WebP or what else the browser reads), or pixels such as a canvas's. */
export type Picture = Blob | ImageData;

/** Whether it is an image, not tensors. */
export function isPicture(input: object): input is Picture {
  return input instanceof Blob || input instanceof ImageData;
}

/**
 * Decode an image, upright, its transparency laid on white.
 *
 * Works in a page and in a worker.
 *
 * @param picture A file, or pixels.
 * @returns RGBA pixels.
 * @throws {SpratError} It is no image that the browser reads, or has too many pixels.
 */
export async function decodeImage(picture: Picture): Promise<Pixels> {
  const bitmap = await createImageBitmap(picture, {
    colorSpaceConversion: "none",
    imageOrientation: "from-image",
  }).catch(() => {
    throw new SpratError("image", "no image");
  });
  const { width, height } = bitmap;
  try {
    checkPixels(width, height);
    const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false })!;
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { data, width, height, channels: 4 };
  } finally {
    bitmap.close();
  }
}
