/** A drawing pad: mouse, pen, touch and keyboard. */

const STEP = 8;

interface Point {
  x: number;
  y: number;
}

export class Pad {
  readonly #canvas: HTMLCanvasElement;
  readonly #context: CanvasRenderingContext2D;
  readonly #changed: () => void;
  #drawing = false;
  #pen: Point;
  #down = false;

  constructor(canvas: HTMLCanvasElement, changed: () => void) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true })!;
    this.#changed = changed;
    this.#pen = { x: canvas.width / 2, y: canvas.height / 2 };
    this.clear();
    canvas.addEventListener("pointerdown", (event) => this.#start(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#end());
    canvas.addEventListener("pointercancel", () => this.#end());
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  clear(): void {
    this.#context.fillStyle = "white";
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  /** Show an image as large as fits; it is used up. */
  show(bitmap: ImageBitmap): void {
    const { width, height } = this.#canvas;
    const factor = Math.min(width / bitmap.width, height / bitmap.height);
    const [w, h] = [bitmap.width * factor, bitmap.height * factor];
    this.clear();
    this.#context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
    bitmap.close();
  }

  /** The pixels themselves: `toBlob` waits for an idle moment, which a busy page does not have. */
  picture(): ImageData {
    return this.#context.getImageData(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #line(from: Point, to: Point): void {
    const context = this.#context;
    context.strokeStyle = "black";
    context.lineWidth = this.#canvas.width / 40;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
    context.stroke();
  }

  #at(event: PointerEvent): Point {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (event.clientX - box.left) * scale, y: (event.clientY - box.top) * scale };
  }

  #start(event: PointerEvent): void {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#drawing = true;
    this.#pen = this.#at(event);
    this.#line(this.#pen, this.#pen);
  }

  #move(event: PointerEvent): void {
    if (!this.#drawing) return;
    const to = this.#at(event);
    this.#line(this.#pen, to);
    this.#pen = to;
  }

  #end(): void {
    if (!this.#drawing) return;
    this.#drawing = false;
    this.#changed();
  }

  #key(event: KeyboardEvent): void {
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [-STEP, 0],
      ArrowRight: [STEP, 0],
      ArrowUp: [0, -STEP],
      ArrowDown: [0, STEP],
    };
    const move = moves[event.key];
    if (event.key === " ") this.#down = !this.#down;
    else if (move === undefined) return;
    event.preventDefault();
    const to = {
      x: Math.min(this.#canvas.width, Math.max(0, this.#pen.x + (move?.[0] ?? 0))),
      y: Math.min(this.#canvas.height, Math.max(0, this.#pen.y + (move?.[1] ?? 0))),
    };
    if (this.#down) {
      this.#line(this.#pen, to);
      this.#changed();
    }
    this.#pen = to;
  }
}
