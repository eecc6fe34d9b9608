/** Errors with a code that a page can act on. */

export type Code =
  | "aborted"
  | "address"
  | "closed"
  | "image"
  | "input"
  | "insecure"
  | "integrity"
  | "manifest"
  | "memory"
  | "missing"
  | "model"
  | "network"
  | "no-wasm"
  | "not-a-manifest"
  | "older"
  | "pin";

export class SpratError extends Error {
  override readonly name = "SpratError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** In the words of engines and of Emscripten: allocation failed, bad_alloc, cannot enlarge memory … */
const MEMORY = /out of memory|enlarge memory|alloc|array length|Aborted\(\)/i;

/** Give any error a code; what comes after the load's end is its consequence, whatever it says. */
export function asFailure(error: unknown, code: Code, signal?: AbortSignal): SpratError {
  if (signal?.aborted || (error instanceof DOMException && error.name === "AbortError")) {
    return new SpratError("aborted", "the load was ended", { cause: error });
  }
  if (error instanceof SpratError) return error;
  const text = error instanceof Error ? error.message : String(error);
  return new SpratError(MEMORY.test(text) ? "memory" : code, text, { cause: error });
}
