/** Cases in Node: files on the disk, the results on standard output. */

import { readFile, writeFile } from "node:fs/promises";
import { brotliDecompressSync } from "node:zlib";
import { perform } from "./cases.js";

const read = async (place: string): Promise<ArrayBuffer> => {
  const content = await readFile(place);
  return new Uint8Array(place.endsWith(".br") ? brotliDecompressSync(content) : content).buffer;
};
const job = JSON.parse(await readFile(process.argv[2]!, "utf8"));
process.stdout.write(JSON.stringify(await perform(job, { read, write: writeFile })));
