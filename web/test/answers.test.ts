import { expect, test } from "vitest";
import { answer, type Reading } from "../src/answers.js";
import type { Tensors } from "../src/tensors.js";

const logit: Reading = { output: "y", kind: "logit", probability: false, threshold: 0 };

function outputs(...values: number[]): Tensors {
  return { y: { type: "float32", dims: [1, values.length], data: new Float32Array(values) } };
}

test("a logit above the threshold is class 1, and sure by its sigmoid", () => {
  expect(answer(outputs(2), logit).value).toBe(1);
  expect(answer(outputs(2), logit).confidence).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
  expect(answer(outputs(-2), logit).value).toBe(0);
  expect(answer(outputs(-2), logit).confidence).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
});

test("a probability is not put through a sigmoid again", () => {
  const reading = { ...logit, probability: true, threshold: 0.5 };
  expect(answer(outputs(0.75), reading)).toEqual({ value: 1, confidence: 0.75 });
  expect(answer(outputs(0.25), reading)).toEqual({ value: 0, confidence: 0.75 });
});

test("the largest score wins", () => {
  const reading: Reading = { ...logit, kind: "classes" };
  expect(answer(outputs(1, 3, 2), reading).value).toBe(1);
  const sure = Math.exp(3) / (Math.exp(1) + Math.exp(3) + Math.exp(2));
  expect(answer(outputs(1, 3, 2), reading).confidence).toBeCloseTo(sure, 6);
});

test("an output that is missing is an error that names it", () => {
  expect(() => answer({}, logit)).toThrow("no output y");
});
