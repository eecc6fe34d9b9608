/** Build the page with React's development build, the loader's source, and the hook in HOOK. */

import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  root: here("."),
  base: "./",
  mode: "development",
  define: { "process.env.NODE_ENV": '"development"' },
  resolve: {
    alias: {
      hook: process.env.HOOK,
      "sprat-web": here("../../src/loader.ts"),
      react: here("../../node_modules/react"),
    },
  },
  worker: { format: "es" },
  build: { outDir: process.env.OUT, emptyOutDir: true, target: "es2022", minify: false },
});
