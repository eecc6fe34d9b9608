/** Numbers of the weights' file, expanded to float32 on arrival. */

import { LARGEST, product, type Reader, reach } from "./check.js";
import type { Machine } from "./machine.js";

const KINDS = ["float32", "float16", "int32", "int8", "uint8", "int4", "uint4"];
/** Bits of one stored number. */
const BITS = [32, 16, 32, 8, 8, 4, 4];

/** A part of the weights' file: from which byte, how many. */
interface Part {
  from: number;
  bytes: number;
}

/** One constant, checked against the file. */
export class Constant {
  /** Float32 when expanded. */
  readonly size: number;
  /** Where it stays, in float32 of the memory; none where one step packs it. */
  readonly to: number | undefined;
  readonly integers: boolean;
  readonly #kind: number;
  readonly #shape: number[];
  readonly #strides: number[];
  readonly #source: Part;
  readonly #first: number;
  readonly #scales: { strides: number[]; parts: Part[] } | undefined;

  constructor(entry: Reader, file: ArrayBuffer) {
    this.#kind = entry.word("kind", KINDS);
    this.#shape = entry.ints("shape", 4, 1);
    this.#strides = entry.ints("strides", 4);
    this.size = product(this.#shape);
    entry.need(this.size <= LARGEST, `${this.size} numbers`);
    this.to = entry.has("to") ? entry.int("to") : undefined;
    this.integers = entry.flag("integers");
    const part = (at: number, first: number, shape: number[], strides: number[], bits: number) => {
      const from = at + Math.floor((first * bits) / 8);
      const end = at + Math.ceil(((first + reach(shape, strides)[1] + 1) * bits) / 8);
      entry.need(end <= file.byteLength, `it ends at byte ${end} of ${file.byteLength}`);
      return { from, bytes: end - from };
    };
    const first = entry.int("start", 0, 0);
    const bits = BITS[this.#kind]!;
    this.#source = part(entry.int("at"), first, this.#shape, this.#strides, bits);
    this.#first = bits < 8 ? first % 2 : 0;
    const table = this.#kind === 2 && this.#source.bytes === 4 * this.size;
    entry.need(!this.integers || table, "a table must be int32, side by side");
    if (!entry.has("scales")) return;
    const scales = entry.part("scales");
    const strides = scales.ints("strides", 4);
    const parts = (scales.has("zero") ? ["at", "zero"] : ["at"]).map((name) =>
      part(scales.int(name), 0, this.#shape, strides, 32),
    );
    this.#scales = { strides, parts };
  }

  /** Bytes of memory beside the result while it is expanded. */
  get work(): number {
    return [this.#source, ...(this.#scales?.parts ?? [])].reduce((n, p) => n + p.bytes + 16, 80);
  }

  /** Expand it into memory of its own; returns the address. */
  alone(machine: Machine, file: ArrayBuffer): number {
    const to = machine.allocate(4 * this.size + 16 + this.work);
    this.expand(machine, file, to, (to + 4 * this.size + 15) & ~15);
    return to;
  }

  /** Write the float32 to `to`, with `work` bytes of memory at `beside` for what they come from. */
  expand(machine: Machine, file: ArrayBuffer, to: number, beside: number): void {
    let at = beside;
    const put = ({ from, bytes }: Part) => {
      const here = at;
      machine.bytes().set(new Uint8Array(file, from, bytes), here);
      at = (here + bytes + 15) & ~15;
      return here;
    };
    const source = put(this.#source);
    if (this.integers) {
      // Dense: a table is written as it is read.
      machine.bytes().copyWithin(to, source, source + 4 * this.size);
      return;
    }
    const [scale = 0, zero = 0] = (this.#scales?.parts ?? []).map(put);
    const steps = this.#scales?.strides ?? [0, 0, 0, 0];
    at = (at + 15) & ~15;
    const list = new Int32Array(machine.memory.buffer, at, 13);
    list.set([...this.#shape, ...this.#strides, ...steps, this.#first]);
    machine.kernels.expand!(this.#kind, to, source, scale, zero, at);
  }
}
