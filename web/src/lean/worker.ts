/** Cases in a browser's worker: files from the server, the results as one message. */

import { perform } from "./cases.js";

async function asked(place: string, options: RequestInit = {}): Promise<Response> {
  const response = await fetch(place, options);
  if (!response.ok) throw new Error(`HTTP ${response.status} for ${place}`);
  return response;
}

self.onmessage = async ({ data }: MessageEvent<string>) => {
  const read = async (place: string) => (await asked(place)).arrayBuffer();
  const write = async (place: string, body: Uint8Array<ArrayBuffer>) =>
    void (await asked(place, { method: "POST", body }));
  self.postMessage(JSON.stringify(await perform(JSON.parse(data), { read, write })));
};
