/**
 * The lean runtime: a plan that `sprat compile` made, on XNNPACK's kernels.
 *
 * One memory holds all activations at places that the plan decided; nothing is allocated while it
 * runs.
 */

import { asFailure, SpratError } from "../failure.js";
import type { Tensors } from "../tensors.js";
import { LARGEST, product, Reader } from "./check.js";
import { Constant } from "./constants.js";
import { Machine, type Wasm } from "./machine.js";
import type { Checked, Packed, Room, Run } from "./room.js";
import { check } from "./steps.js";

export interface Source {
  /** XNNPACK's kernels: bytes, or what they compile to. */
  xnnpack: Wasm;
  /** The kernels that it lacks. */
  helper: Wasm;
  /** The content of `plan.json`. */
  plan: unknown;
  /** The content of `weights.bin`. */
  weights: ArrayBuffer;
}

interface Place {
  name: string;
  type: string;
  shape: number[];
  size: number;
  at: number;
}

const TYPES = ["float32", "int32", "int64", "uint8", "bool"];
const FORMAT = "lean-1";

/** Everything of a plan that can be wrong is found here, before memory is taken. */
function read(source: Source, machine: Machine, base: () => number, scratch: Room["scratch"]) {
  const plan = new Reader(source.plan, "plan");
  plan.need(plan.text("sprat") === FORMAT, `its format is no ${FORMAT}`);
  const memory = plan.int("memory", 1);
  plan.need(memory <= LARGEST, `it wants ${4 * memory} bytes of memory`);
  const bytes = plan.int("bytes");
  plan.need(bytes === source.weights.byteLength, `its weights have ${bytes} bytes`);
  const constants = plan.parts("constants").map((entry) => new Constant(entry, source.weights));
  for (const { to, size } of constants) {
    plan.need(to === undefined || to + size <= memory, "a constant is outside the memory");
  }
  const tensors = (name: string) => plan.parts(name).map((part) => place(part, memory));
  const room: Room = { machine, memory, constants, file: source.weights, base, scratch };
  const steps = plan.parts("steps").map((step) => check(step, room));
  return { memory, constants, steps, inputs: tensors("inputs"), outputs: tensors("outputs") };
}

function place(part: Reader, memory: number): Place {
  const shape = part.ints("shape", null, 1);
  const [size, at] = [product(shape), part.int("at")];
  part.need(at + size <= memory, "it is outside the memory");
  const type = TYPES[part.word("type", TYPES, "float32")]!;
  return { name: part.text("name"), type, shape, size, at };
}

export class LeanSession {
  readonly #machine: Machine;
  readonly #inputs: Place[];
  readonly #outputs: Place[];
  readonly #run: Run[];
  readonly #base: number;

  private constructor(machine: Machine, parts: ReturnType<typeof read>, base: number, run: Run[]) {
    this.#machine = machine;
    this.#inputs = parts.inputs;
    this.#outputs = parts.outputs;
    this.#base = base;
    this.#run = run;
  }

  /** Load a model; whatever is wrong with it is one error. */
  static async open(source: Source): Promise<LeanSession> {
    try {
      const machine = await Machine.start(source.xnnpack, source.helper);
      let base = 0;
      const scratch = { size: 0, at: 0 };
      const parts = read(source, machine, () => base, scratch);
      const packed = parts.steps.flatMap((step) => step.packed ?? []);
      const needs = packed.map(work).concat(parts.constants.map((c) => c.work));
      base = machine.allocate(Math.max(4 * parts.memory, ...needs));
      for (const one of packed) pack(machine, one, source.weights, base);
      stay(machine, parts.constants, source.weights, base);
      scratch.at = machine.allocate(4 * scratch.size);
      const run = parts.steps.map((step: Checked) => step.bind());
      return new LeanSession(machine, parts, base, run);
    } catch (error) {
      throw asFailure(error, "model");
    }
  }

  get inputs(): string[] {
    return this.#inputs.map(({ name }) => name);
  }

  get outputs(): string[] {
    return this.#outputs.map(({ name }) => name);
  }

  /** Bytes of WebAssembly memory; it never shrinks. */
  get heap(): number {
    return this.#machine.memory.buffer.byteLength;
  }

  /** Run the model once. */
  run(feeds: Tensors): Tensors {
    for (const input of this.#inputs) this.#feed(input, feeds);
    try {
      for (const step of this.#run) step();
    } catch (error) {
      throw asFailure(error, "model");
    }
    return Object.fromEntries(
      this.#outputs.map(({ name, shape, size, at }) => {
        const data = this.#machine.floats(this.#base + 4 * at, size).slice();
        return [name, { type: "float32", dims: [...shape], data }];
      }),
    );
  }

  #feed({ name, type, shape, size, at }: Place, feeds: Tensors): void {
    const given = feeds[name];
    const said = given === undefined ? "nothing" : `${given.type} [${given.dims}]`;
    if (given?.type !== type || `${given.dims}` !== `${shape}`) {
      throw new SpratError("input", `input ${name} is ${said}; it must be ${type} [${shape}]`);
    }
    const to = this.#machine.floats(this.#base + 4 * at, size);
    const data = given.data as unknown as ArrayLike<number | bigint>;
    if (data.length !== size) throw new SpratError("input", `input ${name} has a wrong size`);
    if (type === "int64") for (let i = 0; i < size; i++) to[i] = Number(data[i]);
    else to.set(data as ArrayLike<number>);
  }
}

/** Bytes that packing takes: weights, bias, the smallest input and output, what is expanded. */
function work({ weight, bias, small }: Packed): number {
  const beside = Math.max(weight.work, bias?.work ?? 0);
  return 4 * (weight.size + (bias?.size ?? 0) + small[0] + small[1]) + beside + 160;
}

/** Expand a step's weights and let the kernel pack them; their memory is free again afterwards. */
function pack(machine: Machine, one: Packed, file: ArrayBuffer, base: number): void {
  const { weight, bias, small } = one;
  const next = (at: number, size: number) => (at + 4 * size + 31) & ~15;
  const biasAt = next(base, weight.size);
  const x = next(biasAt, bias?.size ?? 0);
  const y = next(x, small[0]);
  const beside = next(y, small[1]);
  weight.expand(machine, file, base, beside);
  bias?.expand(machine, file, biasAt, beside);
  machine.floats(x, small[0]).fill(0);
  one.pack(x, y, base, biasAt);
}

/** Expand the constants that stay; none may lie where another's numbers are still needed. */
function stay(machine: Machine, constants: Constant[], file: ArrayBuffer, base: number): void {
  const staying = constants.filter(({ to }) => to !== undefined);
  if (staying.length === 0) return;
  const beside = machine.allocate(Math.max(...staying.map((c) => c.work)));
  for (const one of staying) one.expand(machine, file, base + 4 * one.to!, beside);
}
