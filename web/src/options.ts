/** What a page may say of how it wants to load. */

import type { Manifest, Model } from "./manifest.js";
import { RETRY, type Retry } from "./store.js";

export interface Progress {
  /** Decoded bytes so far, and of everything that is to come. */
  loaded: number;
  total: number;
}

export interface Options {
  onProgress?: (progress: Progress) => void;
  /** Ends the load, and the model: at whatever moment it aborts, no worker is left. */
  signal?: AbortSignal;
  /** `always` loads the full model even where the visitor asked to save data. */
  full?: "auto" | "always" | "never";
  threads?: number;
  retry?: Partial<Retry>;
  /** What `sprat bundle` printed, `sha256-…`: only this manifest is taken, no other version. */
  integrity?: string;
  /** Take a version whose release is before the last one that was here. */
  allowOlder?: boolean;
}

export function fetching({ signal, retry }: Options): { signal?: AbortSignal; retry: Retry } {
  return { ...(signal && { signal }), retry: { ...RETRY, ...retry } };
}

function savesData(): boolean {
  const connection = (navigator as { connection?: { saveData?: boolean } }).connection;
  return connection?.saveData === true;
}

export function wanted(manifest: Manifest, options: Options): Model[] {
  const full = options.full ?? "auto";
  const lean = full === "never" || (full === "auto" && savesData());
  const previews = manifest.models.filter((model) => model.role === "preview");
  return lean && previews.length > 0 ? previews : manifest.models;
}
