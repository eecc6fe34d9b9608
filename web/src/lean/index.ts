/** What a worker imports of the lean runtime. */

import { damaged } from "./check.js";
import type { Wasm } from "./machine.js";
import { LeanSession } from "./session.js";

export { LeanSession, type Source } from "./session.js";

/** What a file of plan and weights begins with: "LEAN1" and three zeros. */
const MAGIC = 0x314e41454cn;
const START = 16;

/** Open plan and weights that are one file, as bundles have them. */
export async function openFile(
  xnnpack: Wasm,
  helper: Wasm,
  file: ArrayBuffer,
): Promise<LeanSession> {
  const view = new DataView(file);
  const whole = file.byteLength >= START && view.getBigUint64(0, true) === MAGIC;
  const size = whole ? view.getUint32(8, true) : 0;
  if (!whole || START + size > file.byteLength) throw damaged("it is no file of sprat's");
  let plan: unknown;
  try {
    plan = JSON.parse(new TextDecoder().decode(new Uint8Array(file, START, size)));
  } catch (error) {
    throw damaged(`its plan is no JSON (${error})`);
  }
  return LeanSession.open({ xnnpack, helper, plan, weights: file.slice(START + size) });
}
