/** Convolutions of 3x3 windows by Winograd's method; the kernels are in `web/lean/winograd.c`. */

import type { Reader } from "./check.js";
import { type Checked, constant, type Room, span } from "./room.js";

/** Channels below which the transforms take what the products save. */
const FEWEST = 16;
/** Float32 of patches and products at once: what a processor's second cache holds. */
const AT_ONCE = 2 ** 17;
/** Float32 between two of the 16 matrices, as the kernels have it. */
const BETWEEN = 16;

/** A convolution of 3x3 windows, one place apart. */
export interface Windows {
  /** Images, height, width and channels of x. */
  from: [number, number, number, number];
  /** Height, width and channels of y. */
  to: [number, number, number];
  /** Top and left. */
  pads: [number, number];
  /** Limits of y. */
  limits: [number, number];
}

/** Say whether the kernels take so many channels, and are worth it. */
export function fits(channels: number, out: number): boolean {
  return channels >= FEWEST && out >= FEWEST && channels % 4 === 0 && out % 8 === 0;
}

export function winograd(step: Reader, room: Room, windows: Windows): Checked {
  const { machine, scratch } = room;
  const [n, h, w, c] = windows.from;
  const [height, width, out] = windows.to;
  const x = span(step, room, "x", n * h * w * c);
  const y = span(step, room, "y", n * height * width * out);
  const weight = constant(step, room, "weight", 9 * c * out);
  const bias = step.has("bias") ? constant(step, room, "bias", out) : undefined;
  step.need(!weight.integers && !bias?.integers, "weights are a table");
  const squares = Math.ceil(height / 2) * Math.ceil(width / 2);
  const rounds = Math.ceil((squares * 16 * (c + out)) / AT_ONCE);
  const most = 4 * Math.ceil(squares / rounds / 4);
  const matrices = (size: number) => 16 * (size + BETWEEN);
  scratch.size = Math.max(scratch.size, c + matrices(most * c) + matrices(most * out));
  let [transformed, added] = [0, 0];
  return {
    packed: {
      weight,
      bias,
      small: [0, 0],
      pack(_x, _y, weightAt, biasAt) {
        transformed = machine.allocate(4 * matrices(c * out));
        added = machine.allocate(4 * out);
        machine.kernels.winograd_weights!(transformed, weightAt, c, out);
        if (bias === undefined) machine.floats(added, out).fill(0);
        else machine.bytes().copyWithin(added, biasAt, biasAt + 4 * out);
      },
    },
    bind() {
      const list = machine.list([...windows.from, ...windows.to, ...windows.pads, most]);
      const args = [y(), x(), transformed, added, scratch.at, list, ...windows.limits];
      return () => void machine.kernels.winograd!(...args);
    },
  };
}
