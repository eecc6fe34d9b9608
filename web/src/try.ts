/** A page for a person: draw or drop an image, and see what both models say. */

import { type Answer, answer, type Reading } from "./answers.js";
import type { Engine } from "./engine.js";
import { SpratError } from "./failure.js";
import { type Addresses, MeasuredEngine } from "./measured.js";
import { Pad } from "./pad.js";
import type { Picture } from "./pixels.js";
import type { Preprocess } from "./preprocess.js";
import { remember, remembered } from "./remember.js";
import { type Key, type Language, word } from "./words.js";

type Name = "original" | "small";

interface Model {
  address: string;
  /** br-11 bytes. */
  bytes: number;
}

interface Setting {
  runtime: Addresses;
  models: Record<Name, Model>;
  preprocess: Preprocess;
  reading: Reading;
  classes: string[];
  /** Label of each sample image; empty without. */
  samples: string[];
}

interface Card {
  name: Name;
  engine: Promise<Engine>;
  answer?: Answer;
  milliseconds?: number;
  /** What is said in the answer's place, and why. */
  error?: [Key, string];
}

const NAMES: Name[] = ["small", "original"];
const CHOSEN = "sprat-language";

let language: Language = remembered(CHOSEN, navigator.language).startsWith("zh") ? "zh" : "en";

function part<T extends HTMLElement = HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

function size(bytes: number): string {
  return bytes >= 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e3).toFixed(0)} kB`;
}

function element(kind: string, text: string, style = ""): HTMLElement {
  const made = document.createElement(kind);
  made.textContent = text;
  if (style !== "") made.className = style;
  return made;
}

function forget(card: Card): void {
  delete card.answer;
  delete card.milliseconds;
  delete card.error;
}

class Page {
  readonly #setting: Setting;
  readonly #cards = new Map<Name, Card>();
  readonly #pad: Pad;
  #picture: Picture | undefined;
  #label = "";
  #problem = "";
  #sample = 0;
  /** Which picture was given last: one that was decoded too late does not come after it. */
  #given = 0;
  /** Which question was asked last. */
  #turn = 0;

  constructor(setting: Setting) {
    this.#setting = setting;
    this.#pad = new Pad(part<HTMLCanvasElement>("pad"), () => this.#drawn());
    for (const name of NAMES) {
      const model = setting.models[name].address;
      const card: Card = { name, engine: MeasuredEngine.open({ runtime: setting.runtime, model }) };
      card.engine.then(
        () => this.#show(),
        (error: unknown) => {
          card.error = ["failed", error instanceof Error ? error.message : String(error)];
          this.#show();
        },
      );
      this.#cards.set(name, card);
    }
    part("sample").hidden = setting.samples.length === 0;
    this.#listen();
    this.#show();
  }

  #listen(): void {
    part("clear").addEventListener("click", () => {
      this.#given++;
      this.#turn++;
      this.#problem = "";
      this.#pad.clear();
      this.#picture = undefined;
      this.#label = "";
      for (const card of this.#cards.values()) forget(card);
      this.#show();
    });
    part("sample").addEventListener("click", () => void this.#another());
    part("language").addEventListener("click", () => {
      language = language === "en" ? "zh" : "en";
      remember(CHOSEN, language);
      this.#show();
    });
    const file = part<HTMLInputElement>("file");
    file.addEventListener("change", () => {
      if (file.files?.[0] !== undefined) void this.#take(file.files[0], "");
    });
    const pad = part("pad");
    pad.addEventListener("dragover", (event) => {
      event.preventDefault();
      pad.classList.add("over");
    });
    pad.addEventListener("dragleave", () => pad.classList.remove("over"));
    pad.addEventListener("drop", (event) => {
      event.preventDefault();
      pad.classList.remove("over");
      const dropped = event.dataTransfer?.files[0];
      if (dropped !== undefined) void this.#take(dropped, "");
    });
    for (const choice of document.getElementsByName("models")) {
      choice.addEventListener("change", () => void this.#ask());
    }
  }

  #drawn(): void {
    this.#given++;
    this.#problem = "";
    this.#picture = this.#pad.picture();
    this.#label = "";
    void this.#ask();
  }

  async #another(): Promise<void> {
    const { samples } = this.#setting;
    const index = this.#sample++ % samples.length;
    const response = await fetch(`./images/${index}`);
    await this.#take(await response.blob(), samples[index] ?? "");
  }

  async #take(file: Blob, label: string): Promise<void> {
    const given = ++this.#given;
    let bitmap: ImageBitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch (error) {
      if (given !== this.#given) return;
      this.#problem = error instanceof Error ? error.message : String(error);
      this.#show();
      return;
    }
    if (given !== this.#given) return bitmap.close(); // cleared, or drawn on, meanwhile
    this.#pad.show(bitmap);
    this.#problem = "";
    this.#picture = file;
    this.#label = label;
    await this.#ask();
  }

  #chosen(): Name[] {
    const choice = document.querySelector<HTMLInputElement>("[name=models]:checked")!.value;
    return NAMES.filter((name) => choice === "both" || choice === name);
  }

  /** Ask the models in turn, so that they do not slow each other; a newer question wins. */
  async #ask(): Promise<void> {
    const turn = ++this.#turn;
    const picture = this.#picture;
    this.#show();
    if (picture === undefined) return;
    for (const name of this.#chosen()) {
      const card = this.#cards.get(name)!;
      try {
        const engine = await card.engine;
        delete card.error;
        const feeds = await engine.prepare(picture, this.#setting.preprocess);
        const start = performance.now();
        const outputs = await engine.run(feeds);
        if (turn !== this.#turn) return;
        card.milliseconds = performance.now() - start;
        card.answer = answer(outputs, this.#setting.reading);
      } catch (error) {
        if (turn !== this.#turn) return; // cleared, or asked anew, meanwhile
        forget(card);
        const refused = error instanceof SpratError && error.code === "image";
        const key = refused ? "refused" : "failed";
        card.error = [key, error instanceof Error ? error.message : String(error)];
      }
      this.#show();
    }
  }

  #said(card: Card): string {
    if (card.error !== undefined) return word(language, card.error[0], { error: card.error[1] });
    if (card.answer === undefined) return word(language, "nothing");
    const { value } = card.answer;
    return this.#setting.classes[value] ?? String(value);
  }

  #card(card: Card): HTMLElement {
    const box = element("article", "", card.error === undefined ? "card" : "card failed");
    box.dataset.model = card.name;
    box.append(element("h2", word(language, card.name)), element("p", this.#said(card), "said"));
    const rows: [Key, string][] = [["bytes", size(this.#setting.models[card.name].bytes)]];
    if (card.answer !== undefined && Number.isFinite(card.answer.confidence)) {
      const meter = document.createElement("meter");
      meter.value = card.answer.confidence;
      meter.setAttribute("aria-label", word(language, "confidence"));
      box.append(meter);
      rows.unshift(["confidence", `${(100 * card.answer.confidence).toFixed(1)} %`]);
    }
    if (card.milliseconds !== undefined) rows.push(["time", `${card.milliseconds.toFixed(1)} ms`]);
    const list = document.createElement("dl");
    for (const [key, text] of rows) {
      list.append(element("dt", word(language, key)), element("dd", text));
    }
    box.append(list);
    return box;
  }

  #show(): void {
    document.documentElement.lang = language;
    for (const marked of document.querySelectorAll<HTMLElement>("[data-word]")) {
      marked.textContent = word(language, marked.dataset.word as Key);
    }
    part("language").textContent = word(language, "language");
    part("pad").setAttribute("aria-label", word(language, "pad"));
    const label = this.#label === "" ? "" : word(language, "label", { label: this.#label });
    part("label").textContent = this.#problem || label;
    const cards = this.#chosen().map((name) => this.#cards.get(name)!);
    part("cards").replaceChildren(...cards.map((card) => this.#card(card)));
    this.#agree(cards);
  }

  #agree(cards: Card[]): void {
    const line = part("agreement");
    const values = cards.map((card) => card.answer?.value);
    const known = cards.length === 2 && values.every((value) => value !== undefined);
    const same = values[0] === values[1];
    line.className = known ? (same ? "same" : "different") : "";
    line.textContent = known ? word(language, same ? "same" : "different") : "";
  }
}

const response = await fetch("./try.json");
new Page(await response.json());
