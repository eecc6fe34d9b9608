/** Each step of a plan, checked once and bound to its kernel. */

import { product, type Reader, reach } from "./check.js";
import type { Constant } from "./constants.js";
import type { Machine } from "./machine.js";

const ACTIVATIONS = ["none", "relu", "relu6"];
const UNARY =
  "clip leaky sigmoid hardsigmoid hardswish silu tanh erf gelu gelutanh exp sqrt abs reciprocal floor ceil elu affine log sin cos power square round softplus".split(
    " ",
  );
const BINARY = "copy add sub mul div min max prelu pow".split(" ");
const REDUCE = "sum mean max min prod squares".split(" ");

/** Bounds that keep a stranger's plan from overflowing XNNPACK's own sums or from running for ever. */
const WINDOW = 2 ** 16;
const PACKED = 2 ** 26;
const WORK = 2 ** 36;

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

export function check(step: Reader, room: Room): Checked {
  const make = STEPS[step.text("op")];
  step.need(make !== undefined, "the operator is not known");
  return make!(step, room);
}

/** Check that a tensor lies inside the memory; its address comes when the step is bound. */
function span(step: Reader, room: Room, name: string, size: number, low = 0): () => number {
  const at = step.int(name);
  step.need(at + low >= 0 && size >= 1 && at + size <= room.memory, `${name} is outside`);
  return () => room.base() + 4 * at;
}

function constant(step: Reader, room: Room, name: string, size: number): Constant {
  const found = room.constants[step.int(name)];
  step.need(found !== undefined && found.size === size, `${name} does not fit`);
  return found!;
}

/** Add what convolutions and products by constant weights have in common. */
function packing(
  step: Reader,
  room: Room,
  sizes: { x: number; y: number; weight: number; bias: number; small: [number, number] },
  call: (x: number, y: number, weight: number, bias: number, small: boolean) => void,
): Checked {
  const { machine } = room;
  const x = span(step, room, "x", sizes.x);
  const y = span(step, room, "y", sizes.y);
  const weight = constant(step, room, "weight", sizes.weight);
  const bias = step.has("bias") ? constant(step, room, "bias", sizes.bias) : undefined;
  step.need(!weight.integers && !bias?.integers, "weights are a table");
  let ids = [0, 0];
  return {
    packed: {
      weight,
      bias,
      small: sizes.small,
      pack(smallX, smallY, weightAt, biasAt) {
        ids = [
          machine.tensor(weightAt, sizes.weight, true),
          bias === undefined ? 0 : machine.tensor(biasAt, sizes.bias, true),
        ];
        const from = machine.tensor(smallX, sizes.small[0], true);
        call(from, machine.tensor(smallY, sizes.small[1], true), ids[0]!, ids[1]!, true);
      },
    },
    bind() {
      const from = machine.tensor(x(), sizes.x);
      const to = machine.tensor(y(), sizes.y);
      const [w, b] = ids as [number, number];
      return () => call(from, to, w, b, false);
    },
  };
}

function conv(step: Reader, room: Room): Checked {
  const [n, h, w, c] = step.ints("shape", 4, 1) as [number, number, number, number];
  const out = step.int("out", 1);
  const [kh, kw] = step.ints("kernel", 2, 1) as [number, number];
  const [sh, sw] = step.ints("strides", 2, 1, [1, 1]) as [number, number];
  const [dh, dw] = step.ints("dilations", 2, 1, [1, 1]) as [number, number];
  const pads = step.ints("pads", 4, 0, [0, 0, 0, 0]) as [number, number, number, number];
  const [top, right, bottom, left] = pads;
  const activation = step.word("activation", ACTIVATIONS, "none");
  const depthwise = step.flag("depthwise");
  step.need(!depthwise || out % c === 0, `${out} channels of ${c}`);
  const numbers = [kh, kw, sh, sw, dh, dw, ...pads];
  step.need(
    numbers.every((v) => v < WINDOW),
    "a window is too large",
  );
  const [farH, farW] = [(kh - 1) * dh + 1, (kw - 1) * dw + 1];
  const size = (height: number, width: number) =>
    (Math.floor((height + top + bottom - farH) / sh) + 1) *
    (Math.floor((width + left + right - farW) / sw) + 1);
  step.need(h + top + bottom >= farH && w + left + right >= farW, "the window does not fit");
  const smallH = Math.max(1, farH - top - bottom);
  const smallW = Math.max(1, farW - left - right);
  const small: [number, number] = [smallH * smallW * c, size(smallH, smallW) * out];
  const weight = kh * kw * c * (depthwise ? out / c : out);
  // XNNPACK packs eight channels at a time, and lists a pointer for each place of each window.
  step.need(kh * kw * (depthwise ? 1 : c) * (out + 8) <= PACKED, "too many weights");
  step.need(size(h, w) * kh * kw <= PACKED, "too many windows");
  const name = depthwise ? "FusedDepthwiseConv2D" : "FusedConv2D";
  return packing(
    step,
    room,
    { x: n * h * w * c, y: n * size(h, w) * out, weight, bias: out, small },
    (x, y, filter, bias, tiny) =>
      room.machine.call(name, [
        x,
        ...(tiny ? [1, smallH, smallW] : [n, h, w]),
        filter,
        kh,
        kw,
        bias,
        ...pads,
        0, // padding as given, not "same"
        dh,
        dw,
        sh,
        sw,
        c,
        out,
        activation,
        0,
        0,
        y,
      ]),
  );
}

function dense(step: Reader, room: Room): Checked {
  const [rows, k, n] = step.ints("shape", 3, 1) as [number, number, number];
  const activation = step.word("activation", ACTIVATIONS, "none");
  const { machine } = room;
  const sizes = { x: rows * k, y: rows * n, weight: k * n, bias: n };
  step.need(k * (n + 8) <= PACKED, "too many weights");
  let [tinyShape, shape, other] = [0, 0, 0];
  return packing(step, room, { ...sizes, small: [k, n] }, (x, y, weight, bias, tiny) => {
    if (shape === 0) {
      tinyShape = machine.list([1, 1, k]);
      shape = machine.list([1, rows, k]);
      other = machine.list([1, k, n]);
    }
    const own = tiny ? tinyShape : shape;
    machine.call("_FusedMatMul", [x, own, 3, weight, other, 3, 0, 0, activation, bias, 0, 0, y]);
  });
}

/** Bind a kernel of ours to fixed numbers. */
function kernel(room: Room, name: string, args: () => number[]): Checked {
  return {
    bind() {
      const bound = args();
      const call = room.machine.kernels[name]!;
      return () => void call(...bound);
    },
  };
}

function binary(step: Reader, room: Room): Checked {
  const shape = step.ints("shape", 6, 1);
  const kind = step.word("kind", BINARY);
  const strides = ["sy", "sx", "sb"].map((name) =>
    step.ints(name, 6, -(2 ** 31), name === "sb" ? [0, 0, 0, 0, 0, 0] : undefined),
  );
  const [y, x, b] = ["y", "x", "b"].map((name, i) => {
    const [low, high] = reach(shape, strides[i]!);
    return span(step, room, name, high + 1, low);
  });
  step.need(product(shape) <= room.memory, `shape is ${shape}`);
  const low = step.number("low", Number.NEGATIVE_INFINITY);
  const high = step.number("high", Number.POSITIVE_INFINITY);
  const list = [...shape, ...strides.flat()];
  return kernel(room, "binary", () => [kind, y!(), x!(), b!(), room.machine.list(list), low, high]);
}

function gather(step: Reader, room: Room): Checked {
  const [outer, n, inner] = step.ints("shape", 3, 1) as [number, number, number];
  const count = step.int("count", 1);
  const x = span(step, room, "x", outer * n * inner);
  const y = span(step, room, "y", outer * count * inner);
  const tables = ["low", "high"].map((name) => constant(step, room, name, count));
  const weight = constant(step, room, "weight", count);
  step.need(tables.every((t) => t.integers) && !weight.integers, "tables of another type");
  return kernel(room, "gather", () => {
    const { machine, file } = room;
    // In memory of their own: no step can write an index that was not looked at.
    const at = [...tables, weight].map((t) => t.alone(machine, file));
    for (const place of at.slice(0, 2)) {
      const found = new Int32Array(machine.memory.buffer, place, count);
      step.need(
        found.every((v) => v >= 0 && v < n),
        "an index is outside",
      );
    }
    return [y(), x(), ...at, machine.list([outer, n, inner, count])];
  });
}

function pool(step: Reader, room: Room): Checked {
  const shape = step.ints("shape", 4, 1) as [number, number, number, number];
  const out = step.ints("out", 2, 1) as [number, number];
  const windows = [
    step.ints("kernel", 2, 1),
    step.ints("strides", 2, 1, [1, 1]),
    step.ints("dilations", 2, 1, [1, 1]),
    step.ints("pads", 2, 0, [0, 0]),
  ].flat();
  step.need(
    windows.every((v) => v < WINDOW),
    "a window is too large",
  );
  const counted = step.has("counted");
  const [n, , , c] = shape;
  const x = span(step, room, "x", product(shape));
  const y = span(step, room, "y", n * product(out) * c);
  step.need(n * product(out) * c * windows[0]! * windows[1]! <= WORK, "too many windows");
  const list = [...shape, ...out, ...windows, ...step.ints("counted", 2, 0, [0, 0])];
  const kind = step.word("kind", ["max", "mean"]);
  return kernel(room, "pool", () => [
    kind,
    y(),
    x(),
    room.machine.list([...list, Number(counted)]),
  ]);
}

const STEPS: Record<string, (step: Reader, room: Room) => Checked> = {
  conv,
  dense,
  binary,
  gather,
  pool,
  multiply(step, room) {
    const [count, m, n, k] = step.ints("shape", 4, 1) as [number, number, number, number];
    const steps = step.ints("steps", 3) as [number, number, number];
    step.need(count * m * n * k <= WORK, "the product is too large");
    const sizes = [m * n, m * k, k * n];
    const [y, x, b] = ["y", "x", "b"].map((name, i) =>
      span(step, room, name, (count - 1) * steps[i]! + sizes[i]!),
    );
    const list = [count, m, n, k, ...steps];
    return kernel(room, "multiply", () => [y!(), x!(), b!(), room.machine.list(list)]);
  },
  unary(step, room) {
    const size = step.int("size", 1);
    const kind = step.word("kind", UNARY);
    const [x, y] = [span(step, room, "x", size), span(step, room, "y", size)];
    const a = step.number("a", Number.NEGATIVE_INFINITY);
    const b = step.number("b", Number.POSITIVE_INFINITY);
    return kernel(room, "unary", () => [kind, y(), x(), size, a, b]);
  },
  fill(step, room) {
    const size = step.int("size", 1);
    const y = span(step, room, "y", size);
    return kernel(room, "fill", () => [y(), size, step.number("value", Number.NEGATIVE_INFINITY)]);
  },
  reduce(step, room) {
    const [outer, n, inner] = step.ints("shape", 3, 1) as [number, number, number];
    const kind = step.word("kind", REDUCE);
    const x = span(step, room, "x", outer * n * inner);
    const y = span(step, room, "y", outer * inner);
    return kernel(room, "reduce", () => [kind, y(), x(), outer, n, inner]);
  },
  softmax(step, room) {
    const [rows, n] = step.ints("shape", 2, 1) as [number, number];
    const [x, y] = [span(step, room, "x", rows * n), span(step, room, "y", rows * n)];
    const logarithm = Number(step.flag("logarithm"));
    return kernel(room, "softmax", () => [y(), x(), rows, n, logarithm]);
  },
  normalize(step, room) {
    const [rows, n] = step.ints("shape", 2, 1) as [number, number];
    const shared = step.int("shared", 0, 0);
    const [x, y] = [span(step, room, "x", rows * n), span(step, room, "y", rows * n)];
    const [gamma, beta] = ["gamma", "beta"].map((name) => span(step, room, name, shared || n));
    const epsilon = step.number("epsilon", 0);
    return kernel(room, "normalize", () => [y(), x(), gamma!(), beta!(), rows, n, shared, epsilon]);
  },
  embed(step, room) {
    const [rows, inner, count] = step.ints("shape", 3, 1) as [number, number, number];
    const x = span(step, room, "x", rows * inner);
    const b = span(step, room, "b", count);
    const y = span(step, room, "y", count * inner);
    return kernel(room, "embed", () => [y(), x(), b(), rows, inner, count]);
  },
};
