/** What every step of a plan is checked against, and what a checked step is. */

import type { Reader } from "./check.js";
import type { Constant } from "./constants.js";
import type { Machine } from "./machine.js";

/** Bounds that keep a stranger's plan from overflowing XNNPACK's own sums or from running for ever. */
export const WINDOW = 2 ** 16;
export const PACKED = 2 ** 26;
export const WORK = 2 ** 36;

/** Runs the step. */
export type Run = () => void;

/** What a step may use. */
export interface Room {
  machine: Machine;
  /** Float32 of the memory. */
  memory: number;
  constants: Constant[];
  /** The weights' file. */
  file: ArrayBuffer;
  /** Address of the memory; of a place in it once a plan is loaded. */
  base: () => number;
  /** Memory that each step may use while it runs: float32, and the address once a plan is loaded. */
  scratch: { size: number; at: number };
}

/** A step that is checked; `bind` makes it ready when the memory is there. */
export interface Checked {
  bind: () => Run;
  /** Weights that the kernel keeps for itself, in a form of its own. */
  packed?: Packed;
}

export interface Packed {
  weight: Constant;
  bias: Constant | undefined;
  /** Float32 of the smallest input and its output. */
  small: [number, number];
  /** Run the kernel once on the smallest input, which makes it pack its weights. */
  pack: (x: number, y: number, weight: number, bias: number) => void;
}

/** Check that a tensor lies inside the memory; its address comes when the step is bound. */
export function span(step: Reader, room: Room, name: string, size: number, low = 0): () => number {
  const at = step.int(name);
  step.need(at + low >= 0 && size >= 1 && at + size <= room.memory, `${name} is outside`);
  return () => room.base() + 4 * at;
}

export function constant(step: Reader, room: Room, name: string, size: number): Constant {
  const found = room.constants[step.int(name)];
  step.need(found !== undefined && found.size === size, `${name} does not fit`);
  return found!;
}
