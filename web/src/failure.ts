/** Errors with a code that a page can act on. */

export type Code =
  | "aborted"
  | "image"
  | "insecure"
  | "integrity"
  | "manifest"
  | "memory"
  | "model"
  | "network"
  | "no-wasm";

export class SpratError extends Error {
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "SpratError";
    this.code = code;
  }
}

const MEMORY =
  /out of memory|bad_alloc|allocation failed|Invalid typed array length|Failed to allocate|Aborted\(\)|enlarge memory/i;

/** Give any error a code. */
export function asFailure(error: unknown, code: Code): SpratError {
  if (error instanceof SpratError) return error;
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof DOMException && error.name === "AbortError") {
    return new SpratError("aborted", "the load was ended", { cause: error });
  }
  return new SpratError(MEMORY.test(text) ? "memory" : code, text, { cause: error });
}
