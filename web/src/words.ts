/** What the try page says, in English and in simplified Chinese. */

const EN = {
  title: "Try the two models",
  draw: "Draw here, or drop an image",
  pad: "Drawing pad: draw with the mouse, a pen or a finger; arrow keys move the pen, Space puts it down or lifts it",
  clear: "Clear",
  open: "Open an image…",
  sample: "Another sample",
  model: "Model",
  original: "Original",
  small: "Small",
  both: "Both",
  show: "Models that answer",
  answer: "Answer",
  confidence: "Sure",
  time: "Time of one run",
  bytes: "To download (br-11)",
  loading: "loading…",
  nothing: "nothing yet",
  same: "Both say the same.",
  different: "They differ.",
  failed: "The model does not load: {error}",
  label: "The sample is labelled {label}.",
  page: "Draw, and see what it is",
  by: "Answered by",
  first: "Preview model",
  full: "Full model",
  preview: "The preview model answers; the full one is on its way.",
  ready: "The full model answers.",
  unreadable: "That is no image that this browser reads.",
  refused: "The model cannot take this image: {error}",
  partly: "The preview model goes on; the full one cannot be loaded: {error}",
  update: "A new version is here; it is used from the next visit on.",
  language: "中文",
} as const;

type Key = keyof typeof EN;

const ZH: Record<Key, string> = {
  title: "试一试两个模型",
  draw: "在此作画，或拖入一张图片",
  pad: "画板：用鼠标、手写笔或手指作画；方向键移动画笔，空格键落笔或抬笔",
  clear: "清除",
  open: "打开图片…",
  sample: "换一个样本",
  model: "模型",
  original: "原模型",
  small: "小模型",
  both: "两者",
  show: "参与回答的模型",
  answer: "回答",
  confidence: "把握",
  time: "单次推理时间",
  bytes: "下载字节数（br-11）",
  loading: "加载中…",
  nothing: "尚无",
  same: "两者回答相同。",
  different: "两者回答不同。",
  failed: "模型无法加载：{error}",
  label: "该样本的标签为 {label}。",
  page: "画一画，看看像什么",
  by: "作答模型",
  first: "预览模型",
  full: "完整模型",
  preview: "预览模型先行作答，完整模型正在下载。",
  ready: "由完整模型作答。",
  unreadable: "这不是浏览器能读取的图片。",
  refused: "模型无法使用这张图片：{error}",
  partly: "完整模型无法加载，继续由预览模型作答：{error}",
  update: "新版本已就绪，下次访问时启用。",
  language: "English",
};

export type Language = "en" | "zh";

/** Return a phrase, its `{names}` filled in. */
export function word(language: Language, key: Key, values: Record<string, string> = {}): string {
  const text: string = (language === "zh" ? ZH : EN)[key];
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export type { Key };
