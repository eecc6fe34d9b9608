import { expect, test } from "vitest";
import { decode, encode, type Tensors } from "../src/tensors.js";

test("what is written is read back", () => {
  const tensors: Tensors = {
    x: { type: "float32", dims: [2, 3], data: new Float32Array([1, -2, 3.5, 0, 1e-30, 7]) },
    n: { type: "int64", dims: [2], data: new BigInt64Array([5n, -6n]) },
    empty: { type: "uint8", dims: [0], data: new Uint8Array(0) },
    one: { type: "float64", dims: [], data: new Float64Array([Math.PI]) },
  };
  expect(decode(encode(tensors).buffer)).toEqual(tensors);
});

test("a header that does not fit the data is refused", () => {
  const content = encode({ x: { type: "float32", dims: [2], data: new Float32Array(2) } });
  const text = new TextDecoder().decode(content).replace('"shape":[2]', '"shape":[9]');
  expect(() => decode(new TextEncoder().encode(text).buffer)).toThrow("wrong size");
});

test("an unknown type is refused in both directions", () => {
  expect(() => encode({ x: { type: "string", dims: [1], data: new Uint8Array(1) } })).toThrow(
    "of type string",
  );
  const content = encode({ x: { type: "float32", dims: [1], data: new Float32Array(1) } });
  const text = new TextDecoder().decode(content).replace('"F32"', '"F99"');
  expect(() => decode(new TextEncoder().encode(text).buffer)).toThrow("unknown type F99");
});
