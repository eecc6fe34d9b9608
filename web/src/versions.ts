/** Which version the cache holds as a whole, and which one the server has. */

import { SpratError } from "./failure.js";
import { allFiles, type Manifest, parseManifest } from "./manifest.js";
import { type Options, stubborn, wanted } from "./options.js";
import { alone, claimed, persistently, Store } from "./store.js";

/** The list of the last version that was whole, or null; its files may be lost since. */
export async function remembered(cache: Cache | null, address: URL): Promise<Manifest | null> {
  const kept = await cache?.match(address);
  return kept === undefined ? null : parseManifest(await kept.text());
}

export function fetchManifest(address: URL, options: Options): Promise<Manifest> {
  const { signal } = options;
  const fetching = { signal, retry: stubborn(options) };
  return persistently("the manifest", fetching, async (attempt) => {
    const cache = attempt === 0 ? "default" : "reload";
    const end = AbortSignal.timeout(fetching.retry.silence);
    const either = signal === undefined ? end : AbortSignal.any([signal, end]);
    const response = await fetch(address, { cache, signal: either });
    if (!response.ok) throw new SpratError("network", `HTTP ${response.status} for the manifest`);
    const manifest = parseManifest(await response.text());
    if (manifest === null) throw new SpratError("manifest", "the manifest is none of this version");
    return manifest;
  });
}

/** Remember a version that is whole in the cache, and remove what no tab needs. */
export async function settle(
  cache: Cache | null,
  address: URL,
  manifest: Manifest,
  kept: boolean,
  options: Options,
): Promise<boolean> {
  if (cache === null) return false;
  const store = new Store(address, cache);
  const files = allFiles(manifest, wanted(manifest, options));
  const fetching = { signal: options.signal, retry: stubborn(options) };
  for (const file of files) if (!(await store.keep(file, fetching))) return false;
  return alone(address.pathname, options.signal, async () => {
    // Meanwhile a tab with another version may have removed what that one does not need.
    for (const file of files) if (!(await store.has(file))) return false;
    // Or it remembered a version that is newer than what this first visit began with.
    if (!kept && (await cache.match(address))) return false;
    await cache.put(address, new Response(JSON.stringify(manifest)));
    if (await claimed(address.pathname, manifest.version)) return true;
    const needed = new Set([address.href, ...files.map((file) => store.address(file).href)]);
    for (const request of await cache.keys()) {
      if (!needed.has(request.url)) await cache.delete(request);
    }
    return true;
  });
}

/** Get a newer version into the cache, for the next load; null where there is none. */
export async function refresh(
  cache: Cache | null,
  address: URL,
  current: Manifest,
  options: Options,
): Promise<Manifest | null> {
  const manifest = await fetchManifest(address, options);
  const settled = await settle(cache, address, manifest, true, options);
  return settled && manifest.version !== current.version ? manifest : null;
}
