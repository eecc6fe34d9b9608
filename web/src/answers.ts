/** What a model's output means: the same reading as `sprat.evaluate.reading` in Python. */

import type { Tensors } from "./tensors.js";

export interface Reading {
  output: string;
  kind: "logit" | "classes" | "sequence" | "integers" | "vector";
  /** The values are probabilities already. */
  probability: boolean;
  threshold: number;
}

export interface Answer {
  /** Class index; -1 where the output names none. */
  value: number;
  /** Probability of the answer, 0 to 1. */
  confidence: number;
}

function sigmoid(x: number): number {
  return 0.5 * (1 + Math.tanh(0.5 * x));
}

/** Read one sample's answer. */
export function answer(outputs: Tensors, reading: Reading): Answer {
  const found = outputs[reading.output];
  if (found === undefined) throw new Error(`the model has no output ${reading.output}`);
  const values = Array.from(found.data as unknown as ArrayLike<number>, Number);
  if (reading.kind === "logit") {
    const raw = values[0]!;
    const p = reading.probability ? raw : sigmoid(raw - reading.threshold);
    return raw > reading.threshold ? { value: 1, confidence: p } : { value: 0, confidence: 1 - p };
  }
  if (reading.kind !== "classes") return { value: -1, confidence: Number.NaN };
  const top = Math.max(...values);
  const best = values.indexOf(top);
  const sum = values.reduce((total, value) => total + Math.exp(value - top), 0);
  return { value: best, confidence: reading.probability ? top : 1 / sum };
}
