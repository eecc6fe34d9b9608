/**
 * Keep the page for offline use. The model's files are the loader's business; this worker keeps the
 * page itself, as one version, and hands out what the loader kept.
 *
 * Written by hand: a whole version is installed or none, and the list of files is put in by
 * `sprat bundle`, so that all of Workbox would be for twenty lines.
 */

const worker = self as unknown as ServiceWorkerGlobalScope;

/** Two bundles on one site keep their pages apart. */
const FAMILY = `sprat-shell:${worker.registration.scope}:`;
const SHELL = `${FAMILY}__VERSION__`;
declare const __FILES__: string[];

/** What is kept needs no early request: the loader has it in its own cache. */
async function withoutPreloads(page: Response): Promise<Response> {
  const text = (await page.text()).replace(/<link rel="preload" as="fetch"[^>]*>\n?/g, "");
  const headers = new Headers(page.headers);
  headers.delete("content-encoding");
  headers.delete("content-length");
  return new Response(text, { headers });
}

worker.addEventListener("install", (event) => {
  const take = async () => {
    const cache = await caches.open(SHELL);
    await cache.addAll(__FILES__.map((file) => new Request(file, { cache: "reload" })));
    await cache.put("./", await withoutPreloads((await cache.match("./"))!));
    await worker.skipWaiting();
  };
  event.waitUntil(take());
});

// No page is claimed: what is open has its files. In Firefox a claim waits for every worker of the
// page, and a thread of the runtime that sleeps never answers: all requests would hang.
worker.addEventListener("activate", (event) => {
  const clean = async () => {
    for (const name of await caches.keys()) {
      if (name.startsWith(FAMILY) && name !== SHELL) await caches.delete(name);
    }
  };
  event.waitUntil(clean());
});

worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const address = new URL(request.url);
  if (request.method !== "GET" || address.origin !== worker.location.origin) return;
  // The loader asks the network for the manifest, and knows what to do without it.
  if (address.pathname.endsWith("/manifest.json")) return;
  const answer = async () => {
    const shell = await caches.open(SHELL);
    const home = [worker.registration.scope, `${worker.registration.scope}index.html`];
    const own =
      request.mode === "navigate" && home.includes(`${address.origin}${address.pathname}`);
    const page = own ? await shell.match("./") : undefined;
    return page ?? (await caches.match(request, { ignoreVary: true })) ?? fetch(request);
  };
  if (request.cache !== "reload") event.respondWith(answer());
});
