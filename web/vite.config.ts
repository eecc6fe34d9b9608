import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Scripts that others import or register, whose names must not change. */
const FIXED = ["sw", "loader"];
const PAGES = ["prove", "visit", "try", "page"];

/** The scripts and the one wasm file of ONNX Runtime Web that run on the CPU. */
const RUNTIME = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];

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
        // The largest window that browsers take (RFC 7932): 2.3 % fewer bytes of the wasm file.
        const params = {
          [constants.BROTLI_PARAM_QUALITY]: 11,
          [constants.BROTLI_PARAM_LGWIN]: 24,
          [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
        };
        const source = brotliCompressSync(content, { params });
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
  plugins: [runtime()],
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
      output: {
        entryFileNames: ({ name }) =>
          FIXED.includes(name) ? `${name}.js` : "assets/[name]-[hash].js",
      },
    },
  },
});
