import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { build, defineConfig, type Plugin } from "vite";
import * as lean from "./lean/build.js";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Scripts that others import or register, whose names must not change. */
const FIXED = ["sw", "loader"];
const PAGES = ["prove", "visit", "try", "page"];

/** The scripts and the one wasm file of ONNX Runtime Web that run on the CPU. */
const RUNTIME = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

/** Compress at brotli's best, with the largest window that browsers take (RFC 7932). */
function smallest(content: Uint8Array): Uint8Array {
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_LGWIN]: 24,
    [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
  };
  return brotliCompressSync(content, { params });
}

/** One module of the lean runtime as a file of its own. */
async function single(entry: string, ssr: boolean): Promise<Uint8Array> {
  const made = await build({
    configFile: false,
    logLevel: "warn",
    build: {
      write: false,
      ssr,
      target: "es2022",
      minify: true,
      modulePreload: { polyfill: false },
      rolldownOptions: { input: here(entry), preserveEntrySignatures: "strict" },
    },
  });
  const [output] = [made].flat();
  if (output === undefined || !("output" in output)) throw new Error(`${entry} was not built`);
  return new TextEncoder().encode(output.output[0].code);
}

/** Put the lean runtime beside the pages: two wasm files, the executor, and what tries plans in Node and in a worker. */
function leanRuntime(): Plugin {
  return {
    name: "lean-runtime",
    apply: "build",
    async generateBundle() {
      const { version } = JSON.parse(readFileSync(`${lean.folder()}/package.json`, "utf8"));
      const contents: Record<string, Uint8Array> = {
        "xnnpack.wasm": lean.xnnpack(),
        "helper.wasm": lean.helper(),
        "lean.mjs": await single("src/lean/index.ts", false),
      };
      const files: Record<string, { bytes: number; sha256: string }> = {};
      for (const [name, content] of Object.entries(contents)) {
        const sha256 = createHash("sha256").update(content).digest("hex");
        files[name] = { bytes: content.length, sha256 };
        const source = smallest(content);
        this.emitFile({ type: "asset", fileName: `lean/${name}.br`, source });
      }
      for (const name of ["node", "worker"]) {
        const source = await single(`src/lean/${name}.ts`, name === "node");
        this.emitFile({ type: "asset", fileName: `lean/${name}.mjs`, source });
      }
      const licences = readFileSync(here("lean/LICENSES.txt"));
      this.emitFile({ type: "asset", fileName: "lean/LICENSES.txt", source: licences });
      const list = { package: lean.PACKAGE, version, license: "Apache-2.0", files };
      const source = `${JSON.stringify(list, null, 2)}\n`;
      this.emitFile({ type: "asset", fileName: "lean/runtime.json", source });
    },
  };
}

/** Put the runtime beside the pages, compressed at brotli's best, with a list of what it is. */
function runtime(): Plugin {
  return {
    name: "onnxruntime-web",
    apply: "build",
    generateBundle() {
      const folder = here("node_modules/onnxruntime-web");
      const { version } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
      const files: Record<string, { bytes: number; sha256: string }> = {};
      for (const name of RUNTIME) {
        const content = readFileSync(`${folder}/dist/${name}`);
        const sha256 = createHash("sha256").update(content).digest("hex");
        files[name] = { bytes: content.length, sha256 };
        const source = smallest(content);
        this.emitFile({ type: "asset", fileName: `runtime/${name}.br`, source });
      }
      const list = { package: "onnxruntime-web", version, license: "MIT", files };
      const source = `${JSON.stringify(list, null, 2)}\n`;
      this.emitFile({ type: "asset", fileName: "runtime/runtime.json", source });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [runtime(), leanRuntime()],
  worker: { format: "es" },
  build: {
    outDir: here("../src/sprat/browser/site"),
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    reportCompressedSize: false,
    manifest: "vite.json",
    rolldownOptions: {
      input: {
        ...Object.fromEntries(PAGES.map((name) => [name, here(`${name}.html`)])),
        sw: here("src/sw.ts"),
        loader: here("src/loader.ts"),
      },
      preserveEntrySignatures: "exports-only",
      checks: { pluginTimings: false }, // brotli at its best takes its time
      output: {
        entryFileNames: ({ name }) =>
          FIXED.includes(name) ? `${name}.js` : "assets/[name]-[hash].js",
        // What every page with the loader needs comes in one file: fewer requests to wait for.
        codeSplitting: { groups: [{ name: "loader", test: /src\/(loader|answers|engine)\.ts$/ }] },
      },
    },
  },
});
