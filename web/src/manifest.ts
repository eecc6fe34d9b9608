/** The list that `sprat bundle` writes: what to load, in which order, and what it must hash to. */

import type { Reading } from "./answers.js";
import type { Preprocess } from "./preprocess.js";

export interface File {
  /** Address relative to the manifest; it holds the hash, so its content never changes. */
  path: string;
  /** Decoded bytes. */
  bytes: number;
  /** SHA-256 of the decoded bytes, hexadecimal. */
  sha256: string;
  /** Bytes on the wire by encoding. */
  encoded: Record<string, number>;
  /** The file itself is gzip, and decoded here. */
  packed: boolean;
}

export type Role = "preview" | "full";

export interface RuntimeFiles {
  /** `lean`: the models are plans; without it ONNX Runtime Web's. */
  kind?: "ort" | "lean";
  package: string;
  version: string;
  module: File;
  glue: File;
  wasm: File;
}

export interface Model {
  role: Role;
  bytes: number;
  sha256: string;
  chunks: File[];
  /** What it needs instead of the manifest's own runtime. */
  runtime?: RuntimeFiles | null;
}

export interface Manifest {
  sprat: 1;
  name: string;
  /** SHA-256 over everything that the manifest lists. */
  version: string;
  /** Counts up with every change: an older version is known by it. */
  release?: number;
  /** `http`: the host sends compressed files; `gzip`: the large files are packed. */
  decode: "http" | "gzip";
  runtime: RuntimeFiles;
  models: Model[];
  preprocess: Preprocess | null;
  reading: Reading | null;
  classes: string[];
}

/**
 * Folders and a file below the manifest, in the letters that `sprat bundle` uses. What a browser reads
 * as another place is more than `..` and a scheme: `\\host`, a tab inside `ht\ttp:`, `%2e%2e`.
 */
const PATH = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;

function isFile(value: unknown): value is File {
  const file = value as File;
  return (
    typeof file?.path === "string" &&
    PATH.test(file.path) &&
    isSize(file.bytes) &&
    typeof file.sha256 === "string" &&
    /^[0-9a-f]{64}$/.test(file.sha256) &&
    isRecord(file.encoded) &&
    Object.values(file.encoded).every(isSize) &&
    typeof file.packed === "boolean"
  );
}

function isSize(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isRecord(value: unknown): boolean {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isRecordOrNothing(value: unknown): boolean {
  return (value ?? null) === null || isRecord(value);
}

/** Check what came from the network; returns null where it is no manifest of this version. */
export function parseManifest(text: string): Manifest | null {
  let value: Manifest;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  const models = Array.isArray(value?.models) ? value.models : [];
  const whole =
    value?.sprat === 1 &&
    typeof value.name === "string" &&
    typeof value.version === "string" &&
    isSize(value.release ?? 1) &&
    isRecordOrNothing(value.preprocess) &&
    isRecordOrNothing(value.reading) &&
    (value.decode === "http" || value.decode === "gzip") &&
    filesOf(value.runtime).every(isFile) &&
    models.length > 0 &&
    Array.isArray(value.classes) &&
    value.classes.every((name) => typeof name === "string") &&
    models.every(
      (model) =>
        (model?.role === "preview" || model?.role === "full") &&
        Array.isArray(model.chunks) &&
        model.chunks.length > 0 &&
        model.chunks.every(isFile) &&
        ((model.runtime ?? null) === null || filesOf(model.runtime!).every(isFile)) &&
        model.chunks.reduce((sum, chunk) => sum + chunk.bytes, 0) === model.bytes,
    );
  return whole ? value : null;
}

function filesOf(runtime: RuntimeFiles): File[] {
  return [runtime?.module, runtime?.glue, runtime?.wasm];
}

/** Every file that a page needs which wants these models. */
export function allFiles(manifest: Manifest, models = manifest.models): File[] {
  const own = models.flatMap(({ chunks, runtime }) => [
    ...(runtime ? filesOf(runtime) : []),
    ...chunks,
  ]);
  return [...filesOf(manifest.runtime), ...own];
}
