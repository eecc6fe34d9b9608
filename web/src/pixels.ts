/** Decode an image as the page sees it. */

import { ImageError } from "./failure.js";
import type { Pixels } from "./resample.js";

/** As many as Sprat reads in Python; a small file can unpack to gigabytes. */
export const MAX_PIXELS = 64_000_000;

/**
 * Decode an image file, upright, its transparency laid on white.
 *
 * Works in a page and in a worker.
 *
 * @param file PNG, JPEG, WebP or what else the browser reads.
 * @returns RGBA pixels.
 * @throws {ImageError} It is no image that the browser reads, or has too many pixels.
 */
export async function decodeImage(file: Blob): Promise<Pixels> {
  const bitmap = await createImageBitmap(file, {
    colorSpaceConversion: "none",
    imageOrientation: "from-image",
  }).catch((cause) => {
    throw new ImageError("this browser cannot read it", { cause });
  });
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new ImageError(`it has ${width} x ${height} pixels, more than ${MAX_PIXELS}`);
  }
  const context = new OffscreenCanvas(width, height).getContext("2d", { alpha: false })!;
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  return { data, width, height, channels: 4 };
}
