/**
 * Files by their hash: from the cache where they are whole, else from the network, checked, and
 * kept.
 */

import { SpratError } from "./failure.js";
import type { File } from "./manifest.js";

/** How stubborn the loader is. */
export interface Retry {
  /** Attempts at one file. */
  attempts: number;
  /** Milliseconds before the second attempt, about; each further pause is twice as long. */
  pause: number;
  /** A connection that sends nothing for so many milliseconds is given up. */
  silence: number;
}

export const RETRY: Retry = { attempts: 5, pause: 250, silence: 15_000 };
const LONGEST_PAUSE = 8_000;
const PARALLEL = 6;

export type Keeper = (address: string, content: ArrayBuffer, how: ResponseInit) => Promise<unknown>;

export interface Fetching {
  retry?: Retry | undefined;
  signal?: AbortSignal | undefined;
  /** Told decoded bytes as they come in; negative where an attempt is thrown away. */
  onBytes?: (bytes: number) => void;
  /** Given each attempt's decoded bytes as they come in, or the kept ones, before they are checked. */
  onBody?: (body: ReadableStream<Uint8Array<ArrayBuffer>> | ArrayBuffer) => void;
  /** Puts the file into the cache, where the page's own thread is not to do it. */
  keeper?: Keeper;
}

function cacheName(manifest: URL): string {
  return `sprat:${manifest.pathname}`;
}

/** Open a bundle's cache; null in private windows and where storage is refused. */
export async function openCache(manifest: URL): Promise<Cache | null> {
  try {
    return await caches.open(cacheName(manifest));
  } catch {
    return null;
  }
}

function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, milliseconds);
  const end = () => {
    clearTimeout(timer);
    reject(new SpratError("aborted", "the load was ended"));
  };
  if (signal?.aborted) end();
  else signal?.addEventListener("abort", end, { once: true });
  return promise.finally(() => signal?.removeEventListener("abort", end));
}

export async function digest(content: ArrayBuffer): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Read a body into one buffer of a known length; what is longer or shorter is refused early. */
async function read(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  file: File,
  onBytes: (bytes: number) => void,
  alive: () => void,
): Promise<ArrayBuffer> {
  const whole = new Uint8Array(file.bytes);
  const reader = body.getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      alive();
      if (at + value.length > whole.length) {
        throw new SpratError("integrity", `${file.path} is longer than ${file.bytes} bytes`);
      }
      whole.set(value, at);
      at += value.length;
      onBytes(value.length);
    }
    if (at < whole.length) {
      throw new SpratError("integrity", `${file.path} ends after ${at} of ${file.bytes} bytes`);
    }
    return whole.buffer;
  } catch (error) {
    onBytes(-at);
    await reader.cancel().catch(() => {});
    throw error;
  }
}

/** Fetch once; a second attempt goes around the HTTP cache, which may hold what is broken. */
async function once(
  address: URL,
  file: File,
  attempt: number,
  { signal, onBytes = () => {}, onBody, retry = RETRY }: Fetching,
): Promise<ArrayBuffer> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), retry.silence);
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), retry.silence);
  };
  const either = signal === undefined ? silence.signal : AbortSignal.any([signal, silence.signal]);
  try {
    const cache = attempt === 0 ? "default" : "reload";
    const response = await fetch(address, { signal: either, cache });
    if (!response.ok || response.body === null) {
      throw new SpratError("network", `HTTP ${response.status} for ${file.path}`);
    }
    let body = file.packed
      ? response.body.pipeThrough(new DecompressionStream("gzip"))
      : response.body;
    if (onBody !== undefined) {
      const [mine, theirs] = body.tee();
      onBody(theirs);
      body = mine;
    }
    const content = await read(body, file, onBytes, alive);
    // Who compiles the bytes just ended in this task; hashing holds up the page again.
    if (onBody !== undefined) await new Promise((done) => setTimeout(done));
    if ((await digest(content)) !== file.sha256) {
      onBytes(-content.byteLength);
      throw new SpratError("integrity", `${file.path} does not have the content that it should`);
    }
    return content;
  } finally {
    clearTimeout(timer);
  }
}

/** Try until it works, with longer and longer pauses of a random length. */
export async function persistently<T>(
  what: string,
  { signal, retry = RETRY }: Fetching,
  work: (attempt: number) => Promise<T>,
): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await work(attempt);
    } catch (error) {
      if (signal?.aborted) throw new SpratError("aborted", "the load was ended");
      if (attempt + 1 >= retry.attempts) {
        if (error instanceof SpratError) throw error;
        throw new SpratError("network", `${what} cannot be fetched`, { cause: error });
      }
      const longest = Math.min(LONGEST_PAUSE, retry.pause * 2 ** attempt);
      await pause(longest * (0.5 + Math.random() / 2), signal);
    }
  }
}

/** Let only one tab do something at a time; what one fetches, the others find in the cache. */
export function alone<T>(
  name: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  if (navigator.locks === undefined) return work();
  const options: LockOptions = signal === undefined ? {} : { signal };
  return navigator.locks.request(`sprat:${name}`, options, work) as Promise<T>;
}

/** Tell other tabs that a version loads here, so that they leave its files; returns what ends it. */
export function claim(path: string, version: string): () => void {
  const { promise, resolve } = Promise.withResolvers<void>();
  const name = `sprat:${path} ${version}`;
  navigator.locks?.request(name, { mode: "shared" }, () => promise).catch(() => {});
  return resolve;
}

/** Say whether a version other than this one loads in some tab. */
export async function claimed(path: string, version: string): Promise<boolean> {
  const { held = [] } = (await navigator.locks?.query()) ?? {};
  const start = `sprat:${path} `;
  return held.some(({ name }) => name?.startsWith(start) && name !== start + version);
}

export class Store {
  /** Of the cache. */
  readonly name: string;
  readonly #base: URL;
  readonly #cache: Cache | null;
  #running = 0;
  readonly #queue: (() => void)[] = [];

  constructor(base: URL, cache: Cache | null) {
    this.name = cacheName(base);
    this.#base = base;
    this.#cache = cache;
  }

  address(file: File): URL {
    return new URL(file.path, this.#base);
  }

  async has(file: File): Promise<boolean> {
    return (await this.#cache?.match(this.address(file))) !== undefined;
  }

  /** See to it that the cache has a file; false where it refuses, as when it is full. */
  async keep(file: File, fetching: Fetching): Promise<boolean> {
    const work = async () => {
      if (!(await this.has(file))) await this.#fetched(file, fetching);
    };
    if (!(await this.has(file))) await alone(file.sha256, fetching.signal, work);
    return this.has(file);
  }

  /** Return a file's bytes, whole and checked, before they are kept. */
  async get(file: File, fetching: Fetching = {}): Promise<ArrayBuffer> {
    const kept = await this.#kept(file, fetching);
    if (kept !== null) return kept;
    await this.#slot();
    const { promise, resolve, reject } = Promise.withResolvers<ArrayBuffer>();
    const work = () => this.#fetched(file, fetching, resolve);
    // Without a cache there is nothing that tabs could share.
    const done = this.#cache === null ? work() : alone(file.sha256, fetching.signal, work);
    done.catch(reject);
    try {
      return await promise;
    } catch (error) {
      if (fetching.signal?.aborted) throw new SpratError("aborted", "the load was ended");
      throw error;
    } finally {
      this.#running--;
      this.#queue.shift()?.();
    }
  }

  /** Fetch and keep a file. Who asked has it before it is kept; other tabs wait until it is. */
  async #fetched(
    file: File,
    fetching: Fetching,
    arrived: (content: ArrayBuffer) => void = () => {},
  ): Promise<void> {
    const kept = await this.#kept(file, fetching);
    if (kept !== null) return arrived(kept);
    const address = this.address(file);
    const content = await persistently(file.path, fetching, (attempt) =>
      once(address, file, attempt, fetching),
    );
    arrived(content);
    const put: Keeper = async (to, body, how) => this.#cache?.put(to, new Response(body, how));
    const headers = { "content-type": mediaType(file.path), ...ISOLATED };
    try {
      await (fetching.keeper ?? put)(address.href, content, { headers });
    } catch {
      // The quota is used up: the page works without a cache, and loads again next time.
    }
  }

  /** What the cache holds is checked too: a tab may have died, a disk may be broken. */
  async #kept(file: File, { onBody, onBytes }: Fetching): Promise<ArrayBuffer | null> {
    const found = await this.#cache?.match(this.address(file)).catch(() => undefined);
    if (found === undefined) return null;
    const content = await found.arrayBuffer();
    onBody?.(content);
    if (content.byteLength === file.bytes && (await digest(content)) === file.sha256) {
      onBytes?.(content.byteLength);
      return content;
    }
    await this.#cache?.delete(this.address(file));
    return null;
  }

  async #slot(): Promise<void> {
    while (this.#running >= PARALLEL) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#queue.push(resolve);
      await promise;
    }
    this.#running++;
  }
}

/** Scripts that come from the cache must not lose the page its isolation. */
const ISOLATED = {
  "cross-origin-resource-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

function mediaType(path: string): string {
  if (path.endsWith("js")) return "text/javascript";
  return path.endsWith(".wasm") ? "application/wasm" : "application/octet-stream";
}
