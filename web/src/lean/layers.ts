/** Convolutions and products by constant weights, which a kernel packs for itself. */

import type { Reader } from "./check.js";
import type { Checked, Room } from "./room.js";
import { constant, PACKED, span, WINDOW } from "./room.js";
import { fits, winograd } from "./winograd.js";

const ACTIVATIONS = ["none", "relu", "relu6"];
const INFINITY = Number.POSITIVE_INFINITY;
const LIMITS: [number, number][] = [
  [-INFINITY, INFINITY],
  [0, INFINITY],
  [0, 6],
];

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

export function conv(step: Reader, room: Room): Checked {
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
  const plain = kh === 3 && kw === 3 && [sh, sw, dh, dw].every((v) => v === 1);
  if (plain && !depthwise && fits(c, out)) {
    const limits = LIMITS[activation]!;
    const to: [number, number, number] = [h + top + bottom - 2, w + left + right - 2, out];
    return winograd(step, room, { from: [n, h, w, c], to, pads: [top, left], limits });
  }
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

export function dense(step: Reader, room: Room): Checked {
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
