/** Tensors by name in the safetensors format (an 8-byte length, a JSON header, then the data). */

export interface Tensor {
  /** The type's name in ONNX Runtime Web, such as `float32`. */
  type: string;
  dims: number[];
  data: ArrayBufferView;
}

export type Tensors = Record<string, Tensor>;

type Maker = new (buffer: ArrayBuffer, offset: number, length: number) => ArrayBufferView;

interface Kind {
  code: string;
  bytes: number;
  view: Maker;
}

const KINDS: Record<string, Kind> = {
  float32: { code: "F32", bytes: 4, view: Float32Array },
  float64: { code: "F64", bytes: 8, view: Float64Array },
  float16: { code: "F16", bytes: 2, view: globalThis.Float16Array ?? Uint16Array },
  int64: { code: "I64", bytes: 8, view: BigInt64Array },
  uint64: { code: "U64", bytes: 8, view: BigUint64Array },
  int32: { code: "I32", bytes: 4, view: Int32Array },
  uint32: { code: "U32", bytes: 4, view: Uint32Array },
  int16: { code: "I16", bytes: 2, view: Int16Array },
  uint16: { code: "U16", bytes: 2, view: Uint16Array },
  int8: { code: "I8", bytes: 1, view: Int8Array },
  uint8: { code: "U8", bytes: 1, view: Uint8Array },
  bool: { code: "BOOL", bytes: 1, view: Uint8Array },
};
const NAMES = new Map(Object.entries(KINDS).map(([name, kind]) => [kind.code, name]));

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

/** Read tensors; throws where the header does not fit the data. */
export function decode(content: ArrayBuffer): Tensors {
  const length = Number(new DataView(content).getBigUint64(0, true));
  const header: Record<string, Entry> = JSON.parse(
    new TextDecoder().decode(new Uint8Array(content, 8, length)),
  );
  const found: Tensors = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const type = NAMES.get(entry.dtype);
    if (type === undefined) throw new Error(`tensor ${name} has the unknown type ${entry.dtype}`);
    const kind = KINDS[type]!;
    const count = entry.shape.reduce((a, b) => a * b, 1);
    const [start, end] = entry.data_offsets;
    if (end - start !== count * kind.bytes) throw new Error(`tensor ${name} has a wrong size`);
    const part = content.slice(8 + length + start, 8 + length + end);
    found[name] = { type, dims: entry.shape, data: new kind.view(part, 0, count) };
  }
  return found;
}

/** Write tensors. */
export function encode(tensors: Tensors): Uint8Array<ArrayBuffer> {
  const header: Record<string, Entry> = {};
  let offset = 0;
  for (const [name, { type, dims, data }] of Object.entries(tensors)) {
    const kind = KINDS[type];
    if (kind === undefined) throw new Error(`tensor ${name} is of type ${type}`);
    const end = offset + data.byteLength;
    header[name] = { dtype: kind.code, shape: dims, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const padded = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + padded + offset);
  new DataView(out.buffer).setBigUint64(0, BigInt(padded), true);
  out.fill(0x20, 8, 8 + padded);
  out.set(text, 8);
  let at = 8 + padded;
  for (const { data } of Object.values(tensors)) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return out;
}
