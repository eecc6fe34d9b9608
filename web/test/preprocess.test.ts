import { expect, test } from "vitest";
import { SpratError } from "../src/failure.js";
import { type Preprocess, toTensor } from "../src/preprocess.js";
import { type Interpolation, type Pixels, resize } from "../src/resample.js";

const FILTERS: Interpolation[] = ["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"];

function image(
  width: number,
  height: number,
  pixel: (x: number, y: number, c: number) => number,
): Pixels {
  const data = new Uint8ClampedArray(width * height * 3);
  for (let i = 0; i < data.length; i++) {
    const place = Math.floor(i / 3);
    data[i] = pixel(place % width, Math.floor(place / width), i % 3);
  }
  return { data, width, height, channels: 3 };
}

const plain: Preprocess = {
  input: "x",
  size: [2, 2],
  resize: "stretch",
  crop: null,
  channels: "rgb",
  layout: "nchw",
  scale: 1,
  mean: [0, 0, 0],
  std: [1, 1, 1],
  interpolation: "bilinear",
  dtype: "float32",
  pad: 0,
};

test.each(FILTERS)("%s keeps a flat colour flat", (filter) => {
  const found = resize(
    image(13, 7, (_x, _y, c) => [200, 31, 255][c]!),
    5,
    29,
    filter,
  );
  expect([found.width, found.height]).toEqual([5, 29]);
  const pixels = new Set(
    Array.from({ length: 145 }, (_, i) => found.data.slice(3 * i, 3 * i + 3).join()),
  );
  expect([...pixels]).toEqual(["200,31,255"]);
});

test("an image of the right size is not touched", () => {
  const source = image(4, 4, (x, y, c) => 16 * x + y + c);
  for (const filter of FILTERS) expect(resize(source, 4, 4, filter)).toBe(source);
});

test("channels first or last, red or blue first", () => {
  const source = image(2, 2, (x, y, c) => 100 * c + 10 * y + x);
  const first = toTensor(source, plain);
  expect(first.dims).toEqual([1, 3, 2, 2]);
  expect([...(first.data as Float32Array)].slice(0, 5)).toEqual([0, 1, 10, 11, 100]);
  const last = toTensor(source, { ...plain, layout: "nhwc", channels: "bgr" });
  expect(last.dims).toEqual([1, 2, 2, 3]);
  expect([...(last.data as Float32Array)].slice(0, 3)).toEqual([200, 100, 0]);
});

test("normalised in float32, as in Python", () => {
  const how = { ...plain, scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
  const { data } = toTensor(
    image(2, 2, () => 255),
    how,
  );
  const { fround } = Math;
  const one = fround(fround(fround(255 * fround(1 / 255)) - fround(0.485)) / fround(0.229));
  expect((data as Float32Array)[0]).toBe(one);
});

test("letterboxed in the middle of the padding", () => {
  const how: Preprocess = { ...plain, size: [4, 4], resize: "letterbox", pad: 9 };
  const { data } = toTensor(
    image(8, 4, () => 50),
    how,
  );
  expect([...(data as Float32Array)].slice(0, 16)).toEqual([
    ...Array(4).fill(9),
    ...Array(8).fill(50),
    ...Array(4).fill(9),
  ]);
});

test("an image that would be enlarged beyond what is read is refused, as in Python", () => {
  const how: Preprocess = { ...plain, size: [224, 224], resize: "shortest" };
  const grey = { data: new Uint8Array(40000), width: 20000, height: 2, channels: 1 };
  expect(() => toTensor(grey, how)).toThrow("2240000 x 224 pixels: too many");
  const high = { ...grey, width: 2, height: 20000 };
  expect(() => toTensor(high, how)).toThrow(SpratError);
});

test("a type that images cannot have is an error", () => {
  expect(() =>
    toTensor(
      image(2, 2, () => 0),
      { ...plain, dtype: "int64" },
    ),
  ).toThrow("as int64");
});
