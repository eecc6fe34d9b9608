/** A plan comes from the network: every number of it is looked at before a kernel sees it. */

import { SpratError } from "../failure.js";

export type Fields = Record<string, unknown>;

/** Return the one error that a plan or its weights end in, whatever is wrong with them. */
export function damaged(what: string): SpratError {
  return new SpratError("model", `the lean model is damaged: ${what}`);
}

/** Numbers that one memory may hold: 1 GB of float32. */
export const LARGEST = 2 ** 28;

const INT32 = 2 ** 31 - 1;

/** One part of a plan, read field by field. */
export class Reader {
  readonly #fields: Fields;
  readonly #where: string;

  constructor(fields: unknown, where: string) {
    if (typeof fields !== "object" || fields === null) throw damaged(`${where} is no object`);
    this.#fields = fields as Fields;
    this.#where = where;
  }

  /** Throw unless something holds. */
  need(holds: boolean, what: string): void {
    if (!holds) throw damaged(`${this.#where}: ${what}`);
  }

  has(name: string): boolean {
    return (this.#fields[name] ?? null) !== null;
  }

  /** A whole number within limits; `missing` where the plan leaves it out. */
  int(name: string, low = 0, missing?: number): number {
    const value = this.has(name) ? this.#fields[name] : missing;
    const good = Number.isInteger(value) && (value as number) >= low && (value as number) <= INT32;
    this.need(good, `${name} is ${value}`);
    return value as number;
  }

  /** So many whole numbers, or any number of them. */
  ints(name: string, count: number | null, low = 0, missing?: number[]): number[] {
    const value = this.has(name) ? this.#fields[name] : missing;
    const good =
      Array.isArray(value) &&
      value.length === (count ?? value.length) &&
      value.length <= 32 &&
      value.every((v) => Number.isInteger(v) && v >= low && v <= INT32);
    this.need(good, `${name} is ${value}`);
    return value as number[];
  }

  /** A number; `missing` where the plan leaves it out. */
  number(name: string, missing: number): number {
    const value = this.has(name) ? this.#fields[name] : missing;
    this.need(typeof value === "number", `${name} is ${value}`);
    return value as number;
  }

  flag(name: string): boolean {
    return this.#fields[name] === true;
  }

  /** Which of some words a field is. */
  word(name: string, words: readonly string[], missing?: string): number {
    const index = words.indexOf((this.#fields[name] ?? missing) as string);
    this.need(index >= 0, `${name} is ${this.#fields[name]}`);
    return index;
  }

  text(name: string): string {
    const value = this.#fields[name];
    this.need(typeof value === "string", `${name} is ${value}`);
    return value as string;
  }

  /** The parts in a list. */
  parts(name: string): Reader[] {
    const value = this.#fields[name] ?? [];
    this.need(Array.isArray(value), `${name} is no list`);
    return (value as unknown[]).map((part, i) => new Reader(part, `${name} ${i}`));
  }

  part(name: string): Reader {
    return new Reader(this.#fields[name], `${this.#where}, ${name}`);
  }
}

export const product = (values: number[]): number => values.reduce((a, b) => a * b, 1);

/** Elements from the lowest to the highest that strides reach from an index of all zeros. */
export function reach(shape: number[], strides: number[]): [number, number] {
  let low = 0;
  let high = 0;
  for (const [i, size] of shape.entries()) {
    const far = (size - 1) * strides[i]!;
    if (far < 0) low += far;
    else high += far;
  }
  return [low, high];
}
