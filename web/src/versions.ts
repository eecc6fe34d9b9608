/** Which version the cache holds as a whole, and which one the server has. */

import { SpratError } from "./failure.js";
import { allFiles, type Manifest, parseManifest } from "./manifest.js";
import { fetching, type Options, wanted } from "./options.js";
import { alone, either, persistently, pin, type Store } from "./store.js";

/** A version's list, with the bytes that it came as. */
export interface Version {
  manifest: Manifest;
  content: ArrayBuffer;
}

/** Where the cache notes the release of the last version that was whole. */
function note(address: URL): URL {
  return new URL("?release", address);
}

/** Read a list; what is none, or another than the page named, is refused. */
async function read(content: ArrayBuffer, address: URL, { integrity }: Options): Promise<Version> {
  if (integrity !== undefined && integrity !== (await pin(content))) {
    throw new SpratError("pin", `${address} is not what its 'integrity' names: ${integrity}`);
  }
  const text = new TextDecoder().decode(content);
  const manifest = parseManifest(text);
  if (manifest === null) {
    const ours = /^\s*\{.*"sprat"/s.test(text);
    if (ours) throw new SpratError("manifest", `${address} is a manifest of another version`);
    throw new SpratError("not-a-manifest", `${address} is no manifest of sprat bundle`);
  }
  return { manifest, content };
}

/** The last version that was whole, or null; its files may be lost since. */
export async function remembered({ cache, base }: Store, options: Options) {
  const kept = await cache?.match(base);
  return kept === undefined ? null : read(await kept.arrayBuffer(), base, options);
}

export function fetchManifest(store: Store, options: Options): Promise<Version> {
  const { cache, base: address } = store;
  const { integrity, allowOlder } = options;
  const how = fetching(options);
  return persistently(`${address}`, how, async (attempt) => {
    // The HTTP cache may hold the list for a minute after a page with a newer pin has come.
    const from = attempt === 0 && integrity === undefined ? "default" : "reload";
    const signal = either(how.signal, AbortSignal.timeout(how.retry.silence));
    const response = await fetch(address, { cache: from, signal }).catch((cause) => {
      // The page's own site was there a moment ago: a line that is gone comes back.
      const own = address.origin === location.origin;
      if (own || attempt === 0 || !navigator.onLine || !(cause instanceof TypeError)) throw cause;
      const why = "a wrong address, or a host that lets no other site read it";
      throw new SpratError("address", `${address} cannot be reached: ${why}`, { cause });
    });
    if (!response.ok) {
      const code = /^4(?!08|25|29)/.test(`${response.status}`) ? "missing" : "network";
      throw new SpratError(code, `HTTP ${response.status} for ${address}`);
    }
    const found = await read(await response.arrayBuffer(), address, options);
    const { release = 1 } = found.manifest;
    const last = (await cache?.match(note(address)).catch(() => undefined))?.text() ?? 0;
    if (release < Number(await last) && !allowOlder) {
      const what = `${address} is release ${release}; release ${await last} was here before`;
      throw new SpratError("older", what);
    }
    return found;
  });
}

/** Remember a version that is whole in the cache, and remove what no tab needs. */
export async function settle(
  store: Store,
  { manifest, content }: Version,
  replace: boolean,
  options: Options,
): Promise<boolean> {
  const { cache, base, name } = store;
  if (cache === null) return false;
  const files = allFiles(manifest, wanted(manifest, options));
  for (const file of files) if (!(await store.keep(file, fetching(options)))) return false;
  return alone(name, options.signal, async () => {
    // Meanwhile a tab with another version may have removed what that one does not need.
    for (const file of files) if (!(await store.has(file))) return false;
    // Or it remembered a version that is newer than what this first visit began with.
    if (!replace && (await cache.match(base))) return false;
    await cache.put(base, new Response(content));
    await cache.put(note(base), new Response(`${manifest.release ?? 1}`));
    if (await store.claimed(manifest.version)) return true;
    const listed = [base, note(base), ...files.map((file) => store.address(file))];
    const needed = listed.map(({ href }) => href);
    for (const request of await cache.keys()) {
      if (!needed.includes(request.url)) await cache.delete(request);
    }
    return true;
  });
}

/** Get a newer version into the cache, for the next load; null where there is none. */
export async function refresh(
  store: Store,
  current: Version,
  options: Options,
): Promise<Manifest | null> {
  const found = await fetchManifest(store, options);
  const settled = await settle(store, found, true, options);
  return settled && found.manifest.version !== current.manifest.version ? found.manifest : null;
}
