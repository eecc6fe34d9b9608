/** The lean runtime's two wasm files: XNNPACK's kernels stripped, and ours from C. */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import binaryen from "binaryen";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** TensorFlow.js's build of XNNPACK, taken as it is at this version. */
export const PACKAGE = "@tensorflow/tfjs-backend-wasm";
const BINARY = "wasm-out/tfjs-backend-wasm-simd.wasm";
const SHA256 = "77ebb28a6d34f371dbbf2086b7f2de8994acd8ea5a3cf1fa24d2c26c840cac7b";

/** What the executor calls, and the memory. All that only other exports need goes. */
const EXPORTS = [
  "memory",
  "__wasm_call_ctors",
  "init",
  "malloc",
  "register_tensor",
  "FusedConv2D",
  "FusedDepthwiseConv2D",
  "_FusedMatMul",
];

export const folder = () => here(`../node_modules/${PACKAGE}`);

/**
 * XNNPACK with few exports.
 *
 * Nothing is changed but what can be reached: the table of indirect calls stays whole, because a
 * slot that no test reached is called by some network.
 */
export function xnnpack(): Uint8Array {
  const content = readFileSync(`${folder()}/${BINARY}`);
  const found = createHash("sha256").update(content).digest("hex");
  if (found !== SHA256) throw new Error(`${PACKAGE}: ${BINARY} has the SHA-256 ${found}`);
  const module = binaryen.readBinary(content);
  for (const { name } of WebAssembly.Module.exports(new WebAssembly.Module(content))) {
    if (!EXPORTS.includes(name)) module.removeExport(name);
  }
  module.runPasses(["remove-unused-module-elements"]);
  const stripped = module.emitBinary();
  module.dispose();
  return stripped;
}

/** Our own kernels, compiled by the clang that the Python package ziglang brings. */
export function helper(): Uint8Array {
  const made = mkdtempSync(join(tmpdir(), "sprat-helper-"));
  try {
    const out = join(made, "helper.wasm");
    const flags =
      "--target=wasm32-freestanding -O2 -std=c17 -nostdlib -msimd128 -mnontrapping-fptoint " +
      "-mbulk-memory -Wall -Wextra -Werror -Wno-pass-failed -Wl,--no-entry -Wl,--import-memory " +
      "-Wl,--strip-all";
    const args = ["-m", "ziglang", "cc", ...flags.split(" "), "-o", out, "helper.c", "winograd.c"];
    execFileSync("python", args, { cwd: here("."), stdio: ["ignore", "inherit", "inherit"] });
    return alone(readFileSync(out));
  } finally {
    rmSync(made, { recursive: true });
  }
}

/**
 * The helper without the stack pointer that the linker gives every module.
 *
 * Its memory is XNNPACK's: it may bring no data and use no stack of its own.
 */
function alone(content: Uint8Array): Uint8Array {
  const module = binaryen.readBinary(content);
  module.runPasses(["remove-unused-module-elements"]);
  const found = /\((data|global) /.exec(module.emitText());
  const stripped = module.emitBinary();
  module.dispose();
  if (found !== null) throw new Error(`helper.c needs a ${found[1]} of its own: it may have none`);
  return stripped;
}
