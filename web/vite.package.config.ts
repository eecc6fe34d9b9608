/** Build the npm package `sprat-web`: the loader and its worker, without the pages. */

import { fileURLToPath } from "node:url";
import { defineConfig, type Plugin } from "vite";

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** Leave the worker's address as bundlers know it, so that the user's own bundler takes it along. */
function workerBeside(): Plugin {
  const name = "__WORKER__";
  return {
    name: "worker-beside",
    enforce: "pre",
    transform: (code, id) =>
      id.endsWith("/engine.ts") ? code.replace('"./worker.ts"', name) : undefined,
    renderChunk: (code) => code.replace(name, '"./worker.js"'),
  };
}

export default defineConfig({
  publicDir: false,
  plugins: [workerBeside()],
  build: {
    lib: {
      entry: { index: here("src/loader.ts"), worker: here("src/worker.ts") },
      formats: ["es"],
    },
    outDir: here("dist"),
    emptyOutDir: true,
    target: "es2022",
    minify: false,
    reportCompressedSize: false,
  },
});
