/** The page that `sprat bundle --page` writes: draw, and the model answers while the rest loads. */

import { type Loaded, load, type Picture, type Result, SpratError } from "./loader.js";
import { Pad } from "./pad.js";
import { remember, remembered } from "./remember.js";
import { type Key, type Language, word } from "./words.js";

const CHOSEN = "sprat-language";
/** Shown where there is nothing yet. */
const NONE = "–";

function part<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

/** Only now: until the full model is there, the line is the model's. */
function keepOffline(): void {
  navigator.serviceWorker?.register("./sw.js").catch(() => {});
}

class Page {
  readonly #pad = new Pad(part<HTMLCanvasElement>("pad"), () => this.#drawn());
  #language: Language = remembered(CHOSEN, navigator.language).startsWith("zh") ? "zh" : "en";
  #model: Promise<Loaded>;
  #picture: Picture | undefined;
  #result: Result | undefined;
  #status: [Key, Record<string, string>] = ["loading", {}];
  /** What is wrong with the picture: said in the status's place until there is another. */
  #problem: [Key, Record<string, string>] | undefined;
  /** Which picture was given last: one that was decoded too late does not come after it. */
  #given = 0;
  /** Which question was asked last. */
  #turn = 0;

  constructor() {
    const start = performance.now();
    this.#model = load("./manifest.json", {
      threads: crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1,
      onProgress: ({ loaded, total }) => {
        part<HTMLProgressElement>("progress").value = total > 0 ? loaded / total : 1;
      },
    });
    this.#model.then(
      (model) => {
        document.body.dataset.ready = String(performance.now() - start);
        this.#now(model);
        model.on("upgrade", () => {
          this.#now(model);
          void this.#ask();
        });
        model.on("error", (error) => {
          // With the full model nothing is lacking: only a newer version does not come.
          if (model.role === "preview") this.#say("partly", { error: error.message });
        });
        model.on("update", () => this.#say("update"));
        void this.#ask();
      },
      (error: unknown) => this.#failed(error),
    );
    this.#listen();
    this.#show();
    document.body.dataset.listens = "";
  }

  #now(model: Loaded): void {
    document.body.dataset.role = model.role;
    if (model.role === "full") keepOffline();
    part("progress").hidden = model.role === "full";
    this.#say(model.role === "full" ? "ready" : "preview");
  }

  #failed(error: unknown): void {
    document.body.dataset.failed = error instanceof SpratError ? error.code : "unknown";
    const text = error instanceof Error ? error.message : String(error);
    this.#say("failed", { error: text });
  }

  /** The picture is at fault; the model is as good as before. */
  #refuse(key: Key, values: Record<string, string> = {}): void {
    this.#problem = [key, values];
    this.#result = undefined;
    this.#show();
  }

  #say(key: Key, values: Record<string, string> = {}): void {
    this.#status = [key, values];
    this.#show();
  }

  #listen(): void {
    part("clear").addEventListener("click", () => {
      this.#given++;
      this.#turn++;
      this.#pad.clear();
      this.#picture = undefined;
      this.#problem = undefined;
      this.#result = undefined;
      this.#show();
    });
    part("language").addEventListener("click", () => {
      this.#language = this.#language === "en" ? "zh" : "en";
      remember(CHOSEN, this.#language);
      this.#show();
    });
    const file = part<HTMLInputElement>("file");
    file.addEventListener("change", () => void this.#take(file.files?.[0]));
    const pad = part("pad");
    pad.addEventListener("dragover", (event) => event.preventDefault());
    pad.addEventListener("drop", (event) => {
      event.preventDefault();
      void this.#take(event.dataTransfer?.files[0]);
    });
  }

  #drawn(): void {
    this.#given++;
    this.#picture = this.#pad.picture();
    void this.#ask();
  }

  async #take(file: File | undefined): Promise<void> {
    if (file === undefined) return;
    const given = ++this.#given;
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      if (given === this.#given) this.#refuse("unreadable");
      return;
    }
    if (given !== this.#given) return bitmap.close(); // cleared, or drawn on, meanwhile
    this.#pad.show(bitmap);
    this.#picture = file;
    await this.#ask();
  }

  async #ask(): Promise<void> {
    const turn = ++this.#turn;
    if (this.#picture === undefined) return;
    try {
      const model = await this.#model;
      if (turn !== this.#turn) return; // asked again meanwhile: one run is enough
      const result = await model.run(this.#picture);
      if (turn !== this.#turn) return;
      this.#problem = undefined;
      this.#result = result;
      this.#show();
      // When the first answer was there, by each model: for measuring.
      document.body.dataset[result.role] ??= String(performance.now());
    } catch (error) {
      const isImage = error instanceof SpratError && error.code === "image";
      if (!isImage) this.#failed(error);
      else if (turn === this.#turn) this.#refuse("refused", { error: error.message });
    }
  }

  #show(): void {
    const say = (key: Key, values: Record<string, string> = {}) =>
      word(this.#language, key, values);
    document.documentElement.lang = this.#language;
    for (const marked of document.querySelectorAll<HTMLElement>("[data-word]")) {
      marked.textContent = say(marked.dataset.word as Key);
    }
    part("language").textContent = say("language");
    part("pad").setAttribute("aria-label", say("pad"));
    part("status").textContent = say(...(this.#problem ?? this.#status));
    const meter = part<HTMLMeterElement>("sure");
    const { answer, label, role, milliseconds } = this.#result ?? {};
    const sure = Number.isFinite(answer?.confidence);
    meter.hidden = !sure;
    meter.setAttribute("aria-label", say("confidence"));
    if (sure) meter.value = answer!.confidence;
    if (role !== undefined) part("said").textContent = label || String(answer?.value ?? "");
    part("percent").textContent = sure ? `${(100 * meter.value).toFixed(1)} %` : NONE;
    part("by").textContent = role === undefined ? NONE : say(role === "full" ? "full" : "first");
    part("time").textContent = milliseconds === undefined ? NONE : `${milliseconds.toFixed(1)} ms`;
  }
}

new Page();
