/**
 * See how large the WebAssembly heap grows. Import this before the runtime: its memory is made
 * through the constructor that is watched here.
 */

const memories: WebAssembly.Memory[] = [];

WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(this);
  }
};

/** Bytes of all WebAssembly memory in this worker. It never shrinks: this is the peak as well. */
export function heapBytes(): number {
  return memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
}
