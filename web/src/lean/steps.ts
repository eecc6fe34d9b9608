/** Each step of a plan, checked once and bound to its kernel. */

import { product, type Reader, reach } from "./check.js";
import { conv, dense } from "./layers.js";
import { type Checked, constant, type Room, span, WINDOW, WORK } from "./room.js";

const UNARY =
  "clip leaky sigmoid hardsigmoid hardswish silu tanh erf gelu gelutanh exp sqrt abs reciprocal floor ceil elu affine log sin cos power square round softplus".split(
    " ",
  );
const BINARY = "copy add sub mul div min max prelu pow".split(" ");
const REDUCE = "sum mean max min prod squares".split(" ");

export function check(step: Reader, room: Room): Checked {
  const make = STEPS[step.text("op")];
  step.need(make !== undefined, "the operator is not known");
  return make!(step, room);
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
