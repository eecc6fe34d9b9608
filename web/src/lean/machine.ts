/** The two wasm modules with one memory: XNNPACK's kernels, and ours for what it lacks. */

import { damaged } from "./check.js";

type Kernel = (...args: number[]) => number;

export type Wasm = BufferSource | WebAssembly.Module;

const PAGE = 65536;
const LARGEST = 2 ** 31;

export class Machine {
  readonly memory: WebAssembly.Memory;
  readonly #xnnpack: Record<string, Kernel>;
  /** Our own kernels. */
  readonly kernels: Record<string, Kernel>;
  #said = "";
  #ids = 0;
  readonly #known = new Map<string, number>();

  private constructor(xnnpack: WebAssembly.Exports) {
    this.#xnnpack = xnnpack as Record<string, Kernel>;
    this.memory = xnnpack.memory as WebAssembly.Memory;
    this.kernels = {};
  }

  static async start(xnnpack: Wasm, helper: Wasm): Promise<Machine> {
    let machine: Machine | undefined;
    const instance = await instantiate(xnnpack, {
      env: {
        abort: () => {
          throw new WebAssembly.RuntimeError("aborted");
        },
        emscripten_memcpy_big: (to: number, from: number, size: number) =>
          machine!.bytes().copyWithin(to, from, from + size),
        emscripten_get_heap_max: () => LARGEST,
        emscripten_resize_heap: (size: number) => Number(machine!.#grow(size >>> 0)),
      },
      wasi_snapshot_preview1: {
        // XNNPACK says in words what it refuses, and goes on.
        fd_write: (_: number, parts: number, count: number, written: number) =>
          machine!.#hear(parts, count, written),
        fd_close: () => 0,
        fd_seek: () => 0,
      },
    });
    machine = new Machine(instance.exports);
    const { pow, log, sin, cos } = Math;
    const env = { memory: machine.memory, pow, log, sin, cos };
    Object.assign(machine.kernels, (await instantiate(helper, { env })).exports);
    machine.#xnnpack.__wasm_call_ctors!();
    machine.#xnnpack.init!();
    return machine;
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.memory.buffer as ArrayBuffer);
  }

  floats(at: number, size: number): Float32Array<ArrayBuffer> {
    return new Float32Array(this.memory.buffer as ArrayBuffer, at, size);
  }

  /** Take memory, on a boundary of 16 bytes. */
  allocate(size: number): number {
    const at = this.#xnnpack.malloc!(size + 32);
    if (at === 0) throw new RangeError(`out of memory: ${size} bytes`);
    return (at + 15) & ~15;
  }

  /** Put numbers into memory that stays. */
  list(values: number[]): number {
    const at = this.allocate(4 * values.length);
    new Int32Array(this.memory.buffer, at, values.length).set(values);
    return at;
  }

  /** The number by which XNNPACK's wrapper knows a tensor. */
  tensor(at: number, size: number, fresh = false): number {
    const key = `${at}:${size}`;
    const known = fresh ? undefined : this.#known.get(key);
    if (known !== undefined) return known;
    const id = ++this.#ids;
    if (!fresh) this.#known.set(key, id);
    this.#xnnpack.register_tensor!(id, size, at);
    return id;
  }

  /** Call a kernel of XNNPACK's; what it refuses is an error. */
  call(name: string, args: number[]): void {
    this.#said = "";
    this.#xnnpack[name]!(...args);
    if (this.#said !== "") throw damaged(this.#said.trim());
  }

  #grow(size: number): boolean {
    try {
      this.memory.grow(Math.ceil((size - this.memory.buffer.byteLength) / PAGE));
      return true;
    } catch {
      return false;
    }
  }

  #hear(parts: number, count: number, written: number): number {
    const view = new DataView(this.memory.buffer);
    let total = 0;
    for (let i = 0; i < count; i++) {
      const at = view.getUint32(parts + 8 * i, true);
      const size = view.getUint32(parts + 8 * i + 4, true);
      this.#said += new TextDecoder().decode(this.bytes().slice(at, at + size));
      total += size;
    }
    view.setUint32(written, total, true);
    return 0;
  }
}

async function instantiate(
  wasm: Wasm,
  imports: WebAssembly.Imports,
): Promise<WebAssembly.Instance> {
  if (wasm instanceof WebAssembly.Module) return WebAssembly.instantiate(wasm, imports);
  return (await WebAssembly.instantiate(wasm, imports)).instance;
}
