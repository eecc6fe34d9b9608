import { expect, test } from "vitest";
import { allFiles, type Manifest, parseManifest } from "../src/manifest.js";

const HERE = "https://here.example/site/manifest.json";

function file(path: string, bytes = 10): unknown {
  return { path, bytes, sha256: "0f".repeat(32), encoded: { br: 7, gzip: 9 }, packed: false };
}

function runtime(): Record<string, unknown> {
  const [module, glue, wasm] = ["ort.mjs", "glue.mjs", "ort.wasm"].map((n) => file(`runtime/${n}`));
  return { kind: "ort", package: "onnxruntime-web", version: "1.30.0", module, glue, wasm };
}

function manifest(): Record<string, unknown> {
  const chunks = [file("assets/m-0.0123456789abcdef.bin", 4), file("assets/m-1.bin", 6)];
  return {
    sprat: 1,
    name: "fish",
    version: "1",
    decode: "http",
    runtime: runtime(),
    models: [
      { role: "preview", bytes: 10, sha256: "0f".repeat(32), chunks, runtime: null },
      { role: "full", bytes: 10, sha256: "0f".repeat(32), chunks, runtime: runtime() },
    ],
    preprocess: { input: "x" },
    reading: { output: "y" },
    classes: ["fish", "no fish"],
  };
}

/** Seeded, so that a failure can be seen again (mulberry32). */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const PLACES = [
  "../m.bin",
  "a/../../m.bin",
  "%2e%2e/m.bin",
  "/m.bin",
  "//there.example/m.bin",
  "\\\\there.example/m.bin",
  "https://there.example/m.bin",
  " https://there.example/m.bin",
  "ht\ttps://there.example/m.bin",
  "javascript:alert(1)",
  "data:,x",
  "",
  ".",
];
const HOSTILE: unknown[] = [
  ...PLACES,
  null,
  0,
  -1,
  1.5,
  1e300,
  true,
  "x",
  "<img src=x onerror=alert(1)>",
  [],
  [null],
  {},
  { length: 3 },
  { toString: 1 },
];

/** Change one to three values anywhere: replaced, removed, or a part of the manifest itself. */
function mutated(roll: () => number): string {
  const whole = manifest();
  for (let i = 0; i <= roll() * 3; i++) {
    let node = whole as Record<string, unknown>;
    for (;;) {
      const keys = Object.keys(node);
      const key = keys[Math.floor(roll() * keys.length)] ?? "extra";
      const inner = node[key];
      if (typeof inner === "object" && inner !== null && roll() < 0.8) {
        node = inner as Record<string, unknown>;
        continue;
      }
      if (roll() < 0.1) delete node[key];
      else node[key] = structuredClone(HOSTILE[Math.floor(roll() * HOSTILE.length)]);
      break;
    }
  }
  const text = JSON.stringify(whole);
  return roll() < 0.05 ? text.slice(0, Math.floor(roll() * text.length)) : text;
}

function check(found: Manifest): void {
  const folder = new URL(".", HERE).href;
  for (const { path, bytes, encoded } of allFiles(found)) {
    expect(new URL(path, HERE).href.startsWith(folder), path).toBe(true);
    expect(bytes).toBeGreaterThanOrEqual(0);
    expect(Object.values(encoded).every(Number.isSafeInteger)).toBe(true);
  }
  for (const name of found.classes) expect(typeof name).toBe("string");
}

test("what bundle writes is read", () => {
  const found = parseManifest(JSON.stringify(manifest()));
  expect(found).not.toBeNull();
  expect(allFiles(found!)).toHaveLength(10);
});

test.each(PLACES)("a file at %j is refused", (path) => {
  const whole = manifest();
  (whole.runtime as Record<string, Record<string, unknown>>).wasm!.path = path;
  expect(parseManifest(JSON.stringify(whole))).toBeNull();
});

test("20,000 damaged manifests are refused, or can be used without harm", {
  timeout: 120_000,
}, () => {
  const roll = random(1);
  let read = 0;
  for (let i = 0; i < 20_000; i++) {
    const found = parseManifest(mutated(roll));
    if (found === null) continue;
    read++;
    check(found);
  }
  expect(read).toBeGreaterThan(200);
});
