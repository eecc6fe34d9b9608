/**
 * Files by their hash: from the cache where they are whole, else from the network, checked, and
 * kept.
 */

import { asFailure, type Code, SpratError } from "./failure.js";
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

/** What another attempt may change. */
const PASSING: Code[] = ["network", "integrity"];

export type Keeper = (address: string, content: ArrayBuffer) => Promise<unknown>;

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

/** The signal of whichever aborts first. */
export function either(...signals: (AbortSignal | undefined)[]): AbortSignal {
  return AbortSignal.any(signals.filter((signal) => signal !== undefined));
}

/** Wait; an end of the load ends this, too, and what comes next says so. */
async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  setTimeout(resolve, milliseconds);
  signal?.addEventListener("abort", resolve);
  await promise;
  signal?.removeEventListener("abort", resolve);
}

async function hash(content: ArrayBuffer): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", content));
}

export async function digest(content: ArrayBuffer): Promise<string> {
  return Array.from(await hash(content), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The hash as a page writes it down, in the form of subresource integrity. */
export async function pin(content: ArrayBuffer): Promise<string> {
  return `sha256-${btoa(String.fromCharCode(...(await hash(content))))}`;
}

function damaged({ path }: File): SpratError {
  return new SpratError("integrity", `${path} does not have the content that it should`);
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
      const { done, value = new Uint8Array() } = await reader.read();
      alive();
      if (at + value.length > whole.length || (done && at < whole.length)) {
        throw damaged(file);
      }
      if (done) return whole.buffer;
      whole.set(value, at);
      at += value.length;
      onBytes(value.length);
    }
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
  let timer: ReturnType<typeof setTimeout> | undefined;
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), retry.silence);
  };
  alive();
  try {
    const cache = attempt === 0 ? "default" : "reload";
    const response = await fetch(address, { signal: either(signal, silence.signal), cache });
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
      throw damaged(file);
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
    } catch (cause) {
      if (signal?.aborted) throw asFailure(cause, "network", signal);
      const lost = () => new SpratError("network", `${what} cannot be fetched`, { cause });
      const failure = cause instanceof SpratError ? cause : lost();
      if (attempt + 1 >= retry.attempts || !PASSING.includes(failure.code)) throw failure;
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

/** What a bundle has in the browser. */
export class Store {
  /** Address of the bundle's manifest. */
  readonly base: URL;
  /** Of its cache, and what its locks' names begin with. */
  readonly name: string;
  /** Null in private windows and where storage is refused. */
  readonly cache: Cache | null;
  #running = 0;
  readonly #queue: (() => void)[] = [];

  private constructor(base: URL, name: string, cache: Cache | null) {
    this.base = base;
    this.name = name;
    this.cache = cache;
  }

  static async open(base: URL): Promise<Store> {
    const name = `sprat:${base.pathname}`;
    // It throws, too, where there is no such thing.
    const cache = await (async () => caches.open(name))().catch(() => null);
    return new Store(base, name, cache);
  }

  /** Tell other tabs that a version loads here, so that they leave its files; returns what ends it. */
  claim(version: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    const name = `${this.name} ${version}`;
    navigator.locks?.request(name, { mode: "shared" }, () => promise).catch(() => {});
    return resolve;
  }

  /** Say whether a version other than this one loads in some tab. */
  async claimed(version: string): Promise<boolean> {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const start = `${this.name} `;
    return held.some(({ name }) => name?.startsWith(start) && name !== start + version);
  }

  address(file: File): URL {
    return new URL(file.path, this.base);
  }

  async has(file: File): Promise<boolean> {
    return (await this.cache?.match(this.address(file))) !== undefined;
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
    try {
      return await new Promise((resolve, reject) => {
        const work = () => this.#fetched(file, fetching, resolve);
        // Without a cache there is nothing that tabs could share.
        const done = this.cache === null ? work() : alone(file.sha256, fetching.signal, work);
        done.catch(reject);
      });
    } catch (error) {
      throw asFailure(error, "network", fetching.signal);
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
    const put: Keeper = async (to, body) => this.cache?.put(to, new Response(body));
    try {
      await (fetching.keeper ?? put)(address.href, content);
    } catch {
      // The quota is used up: the page works without a cache, and loads again next time.
    }
  }

  /** What the cache holds is checked too: a tab may have died, a disk may be broken. */
  async #kept(file: File, { onBody, onBytes }: Fetching): Promise<ArrayBuffer | null> {
    const found = await this.cache?.match(this.address(file)).catch(() => undefined);
    if (found === undefined) return null;
    const content = await found.arrayBuffer();
    onBody?.(content);
    if (content.byteLength === file.bytes && (await digest(content)) === file.sha256) {
      onBytes?.(content.byteLength);
      return content;
    }
    await this.cache?.delete(this.address(file));
    return null;
  }

  async #slot(): Promise<void> {
    while (this.#running >= PARALLEL) {
      await new Promise<void>((resolve) => this.#queue.push(resolve));
    }
    this.#running++;
  }
}
