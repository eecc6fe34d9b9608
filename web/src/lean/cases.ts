/** Runs plans for `sprat compile` and the tests: a list of cases in, their outputs out. */

import { decode, encode } from "../tensors.js";
import { LeanSession } from "./session.js";

interface Case {
  plan: string;
  weights: string;
  /** Places of tensors by name, one for each run. */
  feeds: string[];
  /** Where each run's outputs go. */
  outputs: string[];
  /** Runs after each, whose outputs are not kept. */
  repeat?: number;
}

export interface Job {
  /** Places of the two wasm files. */
  xnnpack: string;
  helper: string;
  cases: Case[];
}

export interface Result {
  error?: string;
  /** Bytes of memory after the first run, and at the end. */
  heaps?: [number, number];
  /** From the bytes in memory to the first answer. */
  milliseconds?: number;
}

/** How files are read and written, here or there. */
export interface Access {
  read: (place: string) => Promise<ArrayBuffer>;
  write: (place: string, content: Uint8Array<ArrayBuffer>) => Promise<void>;
}

/** Perform all cases, one after the other; a plan that is refused is a result, too. */
export async function perform(job: Job, access: Access): Promise<Result[]> {
  const load = async (place: string) => WebAssembly.compile(await access.read(place));
  const [xnnpack, helper] = await Promise.all([load(job.xnnpack), load(job.helper)]);
  const one = async (given: Case): Promise<Result> => {
    const plan = JSON.parse(new TextDecoder().decode(await access.read(given.plan)));
    const weights = await access.read(given.weights);
    const start = performance.now();
    const session = await LeanSession.open({ xnnpack, helper, plan, weights });
    let milliseconds = performance.now() - start;
    let before = 0;
    for (const [i, place] of given.feeds.entries()) {
      const feeds = decode(await access.read(place));
      const ready = performance.now();
      const outputs = session.run(feeds);
      if (i === 0) milliseconds += performance.now() - ready;
      await access.write(given.outputs[i]!, encode(outputs));
      before ||= session.heap;
      for (let k = 0; k < (given.repeat ?? 0); k++) session.run(feeds);
    }
    return { heaps: [before, session.heap], milliseconds };
  };
  const results: Result[] = [];
  for (const given of job.cases) {
    results.push(
      await one(given).catch((error: unknown) => ({
        error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
      })),
    );
  }
  return results;
}
