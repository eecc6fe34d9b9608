"""What the report says, in English and in simplified Chinese."""

from __future__ import annotations

import re
from typing import NamedTuple

from markupsafe import Markup

#: Control characters but tab and line feed, marks that turn the direction, lone surrogates.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class Text(NamedTuple):
    """One phrase in both languages; ``{name}`` marks where a value goes."""

    en: str
    zh: str


#: Phrases by key.
TEXTS: dict[str, Text] = {
    # the verdict
    "title": Text("Sprat report", "Sprat 报告"),
    "from_to": Text("From {before} to {after}", "从 {before} 缩小到 {after}"),
    "held": Text(
        "{times} times fewer bytes to download, and it still does its job.",
        "下载字节数降至原来的 1/{times}，并且仍能胜任原来的工作。",
    ),
    "missed": Text(
        "{times} times fewer bytes to download, but the last look is over the accuracy budget.",
        "下载字节数降至原来的 1/{times}，但最后一次检验超出了精度预算。",
    ),
    "nothing": Text("Nothing smaller holds the budget", "没有更小的模型满足精度预算"),
    "nothing_more": Text(
        "model.onnx is the original, unchanged.", "model.onnx 即原模型，未作任何改动。"
    ),
    "wire_note": Text(
        "What a visitor downloads, after Brotli at level 11 (br-11). On disk: {before} to {after}.",
        "以访客实际下载的字节计（Brotli 11 级压缩，记作 br-11）。磁盘上：{before} → {after}。",
    ),
    "estimated": Text(
        "The original's bytes on the wire are estimated from samples of the file.",
        "原模型的传输字节数由文件抽样估算得出。",
    ),
    "on_samples": Text(
        "{metric} on {count} samples of {split}", "{split} 中 {count} 个样本的{metric}"
    ),
    "metric_drop": Text("{metric} drop, points", "{metric}下降（百分点）"),
    "interval_is": Text("95 % interval {low} to {high}", "95 % 置信区间 {low} 至 {high}"),
    "time_ratio": Text("of the original's native time", "本机推理时间与原模型之比"),
    "not_measured": Text("not measured", "未测量"),
    "at_10": Text("to download at 10 Mbps, model alone", "10 Mbps 下载时间（仅模型）"),
    "chosen_is": Text("Chosen: {name}. {reason}", "选定 {name}：{reason}"),
    "reason_small": Text(
        "Fewest br-11 bytes within the accuracy budget.",
        "在满足精度预算的候选中，br-11 字节数最少。",
    ),
    "reason_fast": Text(
        "Least native time within the accuracy budget and 1.7 times the fewest bytes.",
        "在满足精度预算、且体积不超过最小者 1.7 倍的候选中，本机推理时间最短。",
    ),
    "reason_distill": Text(
        "The epoch that is best on the validation samples.", "在验证样本上表现最好的一轮。"
    ),
    "reason_tune": Text(
        "Fewest br-11 bytes of the trials within the accuracy budget.",
        "在满足精度预算的试验中，br-11 字节数最少。",
    ),
    "reason_tune_missed": Text(
        "No trial holds the accuracy budget; this one loses least.",
        "没有试验满足精度预算；此试验损失最小。",
    ),
    # the search over students
    "tuning": Text("The search over students", "学生模型的搜索"),
    "tuning_text": Text(
        "{trials} of {wanted} trials, in which {student} learned from {teacher} and was quantized. "
        "No other trial has both fewer bytes and a higher score than the {front} on the front.",
        "共 {trials} / {wanted} 次试验：{student} 以 {teacher} 为教师进行学习，然后量化。"
        "前沿上的 {front} 次试验，没有其他试验能同时以更少字节得到更高得分。",
    ),
    "tuning_note": Text(
        "A trial is ended early if its loss on the validation samples is behind the median of "
        "those that are no larger. sprat.toml holds the best configuration within the budget:",
        "若某试验在验证样本上的损失落后于不大于它的其他试验的中位数，则提前结束。"
        "sprat.toml 保存预算内的最佳配置：",
    ),
    "front_note": Text(
        "Each point is a trial, measured on {split} ({count} samples); the line through it is its "
        "95 % interval. Further left is smaller, further down is better. The shaded part is over "
        "the budget; hollow points missed it. The curve joins the front.",
        "每个点是一次试验，在 {split}（{count} 个样本）上测得；穿过它的竖线为 95 % 置信区间。"
        "越靠左越小，越靠下越好。阴影部分超出预算，空心点未满足预算。曲线连接前沿。",
    ),
    "trial": Text("trial", "试验"),
    "parameters": Text("parameters", "参数"),
    "epochs_done": Text("epochs", "轮数"),
    "configuration": Text("configuration", "配置"),
    "on_front": Text("on the front", "在前沿上"),
    # the training
    "training": Text("Training", "训练"),
    "training_text": Text(
        "{student} with {parameters} parameters learned from {teacher}.",
        "{student}（{parameters} 个参数）以 {teacher} 为教师进行学习。",
    ),
    "training_note": Text(
        "After each epoch, on {split}: what the student scores, and how often it answers as the "
        "teacher does. The ring is the epoch whose weights were kept.",
        "每轮训练后在 {split} 上测得：学生的得分，以及与教师回答一致的比例。"
        "圆环为所保留权重的那一轮。",
    ),
    "training_desc": Text(
        "{count} epochs by score and agreement on the validation samples; {best}.",
        "{count} 轮训练在验证样本上的得分与一致率；{best}。",
    ),
    "training_end": Text(
        "{epochs} of {planned} planned epochs; ended by: {end}.",
        "计划 {planned} 轮，完成 {epochs} 轮；结束原因：{end}。",
    ),
    "axis_epoch": Text("epoch (log scale)", "轮次（对数刻度）"),
    "axis_score": Text("on the validation samples", "验证样本"),
    "agrees": Text("agrees with the teacher", "与教师一致"),
    "best_epoch": Text("best: epoch {epoch}, {score}", "最佳：第 {epoch} 轮，{score}"),
    "epoch": Text("epoch", "轮次"),
    "loss": Text("loss", "损失"),
    "learning_rate": Text("learning rate", "学习率"),
    # the checklist
    "checklist": Text("Checklist", "检查清单"),
    "check_accuracy": Text("Accuracy", "精度"),
    "check_speed": Text("Inference speed", "推理速度"),
    "check_size": Text("Size", "体积"),
    "check_browser": Text("In the browser", "浏览器"),
    "check_network": Text("On real networks", "真实网络"),
    "state_yes": Text("holds", "通过"),
    "state_no": Text("fails", "未通过"),
    "state_note": Text("note", "注意"),
    "state_open": Text("open", "待验证"),
    "drop_figure": Text(
        "drop of {drop} points ({low} to {high})", "下降 {drop} 个百分点（{low} 至 {high}）"
    ),
    "drop_bar": Text("at most {budget} points", "至多 {budget} 个百分点"),
    "interval_over": Text(
        "The interval reaches above the budget: more samples would settle it.",
        "置信区间的上端超出预算：需要更多样本才能定论。",
    ),
    "no_last_look": Text(
        "Measured on the samples that the choice was made on: there was no other set.",
        "此结果与选择模型所用的是同一批样本：没有另外的测试集。",
    ),
    "not_yet_looked": Text(
        "Measured on the samples that the choice was made on: a search does not look at test.",
        "此结果与选择所用的是同一批样本：搜索过程不查看 test。",
    ),
    "time_figure": Text(
        "{ratio} of the original's native time ({low} to {high})",
        "本机推理时间为原模型的 {ratio} 倍（{low} 至 {high}）",
    ),
    "time_bar": Text("not slower", "不慢于原模型"),
    "size_figure": Text(
        "{brotli} bytes br-11, {gzip} gzip-9, {raw} on disk",
        "br-11 {brotli} 字节，gzip-9 {gzip} 字节，磁盘 {raw} 字节",
    ),
    "size_bar": Text("smaller than the original", "小于原模型"),
    "not_proved": Text("not proved yet: added by", "尚未验证，由以下命令补充："),
    # size against accuracy
    "chart": Text("Size against accuracy", "体积与精度"),
    "chart_note": Text(
        "Each point is a model that was tried, measured on {split} ({count} samples); the line "
        "through it is its 95 % interval. Further left is smaller, further down is better. The "
        "shaded part is over the budget; hollow points missed it. The curve joins the "
        "rate-distortion points.",
        "每个点是一个试过的模型，在 {split}（{count} 个样本）上测得；穿过它的竖线为 95 % 置信区间。"
        "越靠左越小，越靠下越好。阴影部分超出预算，空心点未满足预算。曲线连接各率失真点。",
    ),
    "chart_students": Text(
        "Circles are made of the original, diamonds of the student.",
        "圆点由原模型得到，菱形由学生模型得到。",
    ),
    "chart_desc": Text(
        "{count} models by bytes after Brotli 11 and by {metric} drop in points. Chosen: {chosen}. "
        "The table of candidates has every figure.",
        "{count} 个模型按 Brotli 11 字节数与{metric}下降（百分点）排布。选定：{chosen}。"
        "全部数字见候选表。",
    ),
    "axis_bytes": Text("size, br-11 (log scale)", "体积，br-11（对数刻度）"),
    "axis_drop": Text("drop, points", "下降（百分点）"),
    "budget": Text("budget", "预算"),
    "the_original": Text("original", "原模型"),
    # download time
    "download": Text("Download time", "下载时间"),
    "download_note": Text(
        "br-11 bytes over the line's speed, in theory. A page also downloads ONNX Runtime Web "
        "once: {runtime}, the hatched part.",
        "br-11 字节数除以带宽的理论值。网页还需下载一次 ONNX Runtime Web：{runtime}，即斜线部分。",
    ),
    "network": Text("network", "网络"),
    "before": Text("before", "之前"),
    "after": Text("after", "之后"),
    "before_runtime": Text("before, with runtime", "之前，含运行时"),
    "after_runtime": Text("after, with runtime", "之后，含运行时"),
    # the browser
    "browser": Text("In the browser", "在浏览器中"),
    "browser_is": Text(
        "Measured in {browser} with {runtime}, in a worker.",
        "在 {browser} 中以 {runtime} 于 Worker 内测得。",
    ),
    "browser_refuses": Text(
        "{browser} with {runtime} does NOT load the model: {cause}.",
        "{browser}（{runtime}）无法加载该模型：{cause}。",
    ),
    "browser_refuses_short": Text("does not load", "无法加载"),
    "browser_loads": Text("loads; accuracy not measured", "可加载；未测精度"),
    "browser_bar": Text("loads, at most {budget} points", "可加载，至多 {budget} 个百分点"),
    "browser_load": Text("Loads", "加载"),
    "browser_load_figure": Text(
        "session ready in {milliseconds} ms, the runtime's start included",
        "会话就绪用时 {milliseconds} 毫秒，含运行时启动",
    ),
    "browser_native": Text("Against itself, native", "与自身的本机结果相比"),
    "browser_original": Text("Against the original, native", "与原模型的本机结果相比"),
    "browser_drop": Text(
        "{metric} {before} to {after} on {samples} samples of {split}: drop {drop} points "
        "({low} to {high}).",
        "{split} 的 {samples} 个样本上{metric} {before} → {after}：下降 {drop} 个百分点"
        "（{low} 至 {high}）。",
    ),
    "browser_flips": Text(
        "{flips} answers differ; largest difference of an output {largest}.",
        "{flips} 个答案不同；输出的最大差异为 {largest}。",
    ),
    "browser_by_degrees": Text(
        "Largest difference of an output {largest}.", "输出的最大差异为 {largest}。"
    ),
    "browser_seen": Text("The page's preprocessing", "网页的预处理"),
    "browser_seen_figure": Text(
        "{exact} of {samples} images give the same bits as Pillow, largest difference {largest}; "
        "{flips} answers change.",
        "{samples} 张图片中 {exact} 与 Pillow 逐位相同，最大差异 {largest}；{flips} 个答案改变。",
    ),
    "browser_heap": Text("WebAssembly heap", "WebAssembly 堆"),
    "browser_heap_figure": Text("{load} after load, {peak} at peak", "加载后 {load}，峰值 {peak}"),
    "browser_heap_original": Text("(original: {peak})", "（原模型：{peak}）"),
    "browser_lean": Text("In the lean runtime", "精简运行时"),
    "browser_lean_figure": Text(
        "{samples} answers as native's, largest difference {largest}; the first {seconds} after "
        "its bytes are there; {bytes} to download with the runtime; {heap} of memory.",
        "{samples} 个回答与本机一致，最大差异 {largest}；数据就绪后 {seconds} 给出首个回答；"
        "连同运行时共下载 {bytes}；占用内存 {heap}。",
    ),
    "browser_lean_refused": Text("cannot be done: {reason}", "无法运行：{reason}"),
    "browser_operators": Text("Operators", "算子"),
    "browser_all_operators": Text(
        "each of {count} kinds of node loads alone in this runtime",
        "{count} 种节点均可在此运行时中单独加载",
    ),
    "browser_missing": Text("not in this runtime:", "此运行时没有："),
    "browser_flips_title": Text(
        "Samples that the browser answers differently", "浏览器给出不同答案的样本"
    ),
    "native": Text("native", "本机"),
    "web": Text("browser", "浏览器"),
    "threads": Text("threads", "线程数"),
    "first_run": Text("first run, ms", "首次运行（毫秒）"),
    "median_run": Text("median, ms", "中位数（毫秒）"),
    "p95_run": Text("95th percentile, ms", "第 95 百分位（毫秒）"),
    "web_ratio": Text("of the original's time", "与原模型时间之比"),
    "visits": Text("First visit, empty cache", "首次访问（空缓存）"),
    "visit_page": Text("page with", "网页所用模型"),
    "visit_bytes": Text("bytes sent", "传输字节"),
    "visit_seconds": Text("to the first prediction", "至首次预测"),
    "visit_theory": Text("in theory", "理论值"),
    "visit_figure": Text("first prediction after", "首次预测用时"),
    "visits_note": Text(
        "From the start of the navigation, the runtime and the page included, over a throttled "
        "line that was first checked with a known transfer. The original is sent as most hosts "
        "send it, uncompressed. A dash: not measured, because theory says that it takes too long.",
        "自导航开始计时，含运行时与网页；限速线路先以已知传输核对。原模型按多数主机的做法不压缩传输。"
        "短横表示因理论用时过长而未测。",
    ),
    "deliveries": Text("The bundle's page", "交付的网页"),
    "delivery_visit": Text("visit", "访问"),
    "delivery_first": Text("first, empty cache", "首次（空缓存）"),
    "delivery_second": Text("second", "再次"),
    "delivery_seconds": Text("first answer", "首个答案"),
    "delivery_full": Text("full model's answer", "完整模型的答案"),
    "deliveries_note": Text(
        "Times count from the start of the navigation; the visitor gives an image as soon as the "
        "page listens. Bytes are all that the server sent, the page kept for offline use included.",
        "自导航开始计时；页面一可用，访客即给出图片。字节为服务器发送的全部，含供离线使用的页面。",
    ),
    "film": Text("The load at {mbps} Mbps:", "{mbps} Mbps 下的加载过程："),
    # candidates
    "candidates": Text("Every candidate", "全部候选"),
    "name": Text("name", "名称"),
    "method": Text("method", "方法"),
    "bytes": Text("br-11 bytes", "br-11 字节"),
    "bits": Text("bits per weight", "每权重比特数"),
    "drop": Text("drop, points", "下降（百分点）"),
    "interval": Text("95 % interval", "95 % 置信区间"),
    "agreement_with": Text("agreement", "一致率"),
    "time": Text("time ratio", "时间比"),
    "outcome": Text("outcome", "结果"),
    "outcome_note": Text(
        "A candidate is within the budget if its drop and half a standard error hold it. A point "
        "on the rate-distortion curve must also hold it by the drop that its divergence from the "
        "original foretells: luck on these samples does not carry over to others.",
        "候选的下降幅度加半个标准误差不超过预算，才算满足预算。率失真曲线上的点，按其与原模型的散度"
        "推算的下降也须不超过预算：在这批样本上的运气不会延续到其他样本。",
    ),
    # samples that flipped
    "flips": Text("Samples that changed their answer", "答案改变的样本"),
    "flips_none": Text("No sample changed its answer.", "没有样本的答案发生改变。"),
    "flips_by_degrees": Text(
        "These answers agree by degrees, {agreement} on average: no single ones can be shown.",
        "这些答案只有相近程度之分，平均一致率 {agreement}，无法列出单个改变的样本。",
    ),
    "flips_count": Text(
        "{count} of {samples} samples of {split}, the original's surest answers first.",
        "{split} 的 {samples} 个样本中有 {count} 个，按原模型的把握从高到低排列。",
    ),
    "flips_balance": Text(
        "{better} went from wrong to right, {worse} from right to wrong.",
        "{better} 个由错变对，{worse} 个由对变错。",
    ),
    "flips_more": Text("{count} more are in run.json.", "另有 {count} 个，见 run.json。"),
    "no_picture": Text("cannot be shown", "无法显示"),
    "truth": Text("truth", "真值"),
    "original": Text("original", "原模型"),
    "small": Text("small", "小模型"),
    "better": Text("now right", "由错变对"),
    "worse": Text("now wrong", "由对变错"),
    # layers
    "layers": Text("Layers", "各层"),
    "layer": Text("layer", "层"),
    "operator": Text("operator", "算子"),
    "bytes_share": Text("share of bytes", "字节占比"),
    "work_share": Text("share of multiply-adds", "乘加占比"),
    "sensitivity": Text("sensitivity", "敏感度"),
    "layers_student": Text("The student, of which the choice is made:", "所选模型来自学生模型："),
    "layers_more": Text("{count} smaller layers are not shown.", "另有 {count} 个更小的层未列出。"),
    "bits_chart": Text("Bits per weight against sensitivity", "每权重比特数与敏感度"),
    "bits_note": Text(
        "One circle a layer, its area by its weights. Sensitivity is the divergence of the final "
        "output when this layer alone is quantized: what hurts more, weight for weight, is given "
        "more bits.",
        "每个圆是一层，面积对应权重数量。敏感度指仅量化该层时最终输出的散度：平均到每个权重，"
        "影响越大的层分到的比特越多。",
    ),
    "bits_desc": Text(
        "{count} layers by sensitivity and by bits per weight. The table of layers has the "
        "figures.",
        "{count} 个层按敏感度与每权重比特数排布。数字见各层的表。",
    ),
    "axis_sensitivity": Text("sensitivity (log scale)", "敏感度（对数刻度）"),
    # preview
    "preview": Text("Preview model", "预览模型"),
    "preview_text": Text(
        "preview.onnx is {size} br-11: {metric} {score}, drop {drop} points ({low} to {high}) on "
        "{split}. A page can answer with it while the full model arrives.",
        "preview.onnx 为 {size}（br-11）：在 {split} 上{metric} {score}，下降 {drop} 个百分点"
        "（{low} 至 {high}）。完整模型到达之前，网页可先用它作答。",
    ),
    # log and how to reproduce
    "log": Text("Log", "日志"),
    "date": Text("date (UTC)", "日期（UTC）"),
    "operation": Text("operation", "操作"),
    "result": Text("result", "结果"),
    "notes": Text("notes", "备注"),
    "reproduce": Text("How to reproduce it", "如何复现"),
    "reproduce_note": Text(
        "The same input, seed and versions give the same bytes.",
        "相同的输入、随机种子与版本得到逐字节相同的结果。",
    ),
    "files": Text("Files", "文件"),
    "file": Text("file", "文件"),
    "on_disk": Text("on disk", "磁盘"),
    "samples": Text("Samples", "样本"),
    "split": Text("set", "集合"),
    "count": Text("samples", "样本数"),
    "role": Text("role", "用途"),
    "digest": Text("SHA-256 of the contents", "内容的 SHA-256"),
    "read_as": Text("How they were read", "读取方式"),
    "guesses": Text("How the data was understood", "对数据的理解"),
    "cleaning": Text("Cleaning the graph", "图清理"),
    "machine": Text("Machine", "机器"),
    "versions": Text("Versions", "版本"),
    "seed": Text("Seed", "随机种子"),
    "data": Text("Data", "数据"),
    "classes": Text("Classes", "类别"),
    "timings": Text("Where the time went", "耗时"),
    "footer": Text(
        "Made by Sprat {version}. This page is one file and needs no network.",
        "由 Sprat {version} 生成。本页为单个文件，无需联网。",
    ),
}

#: Words of the record (metrics, outcomes, roles of the samples).
WORDS: dict[str, Text] = {
    "accuracy": Text("accuracy", "准确率"),
    "agreement": Text("agreement", "一致率"),
    "concordance": Text("concordance", "一致性系数"),
    "equal integers": Text("equal integers", "整数相同率"),
    "chosen": Text("chosen", "选定"),
    "within budget": Text("within budget", "满足预算"),
    "over budget": Text("over budget", "超出预算"),
    "not better": Text("not better", "无改进"),
    "not tried": Text("not tried", "未尝试"),
    "failed": Text("failed", "失败"),
    "calibration": Text("calibration", "校准"),
    "choice": Text("choice", "选择模型"),
    "calibration and choice": Text("calibration and choice", "校准与选择模型"),
    "training": Text("training", "训练"),
    "training and calibration": Text("training and calibration", "训练与校准"),
    "epochs": Text("the plan", "计划完成"),
    "patience": Text("no further gain", "不再提升"),
    "minutes": Text("the time limit", "时间上限"),
    "interrupted": Text("an interruption", "中断"),
    "not looked at": Text("not looked at", "未查看"),
    "waiting": Text("waiting", "等待中"),
    "running": Text("under way", "进行中"),
    "complete": Text("complete", "完成"),
    "pruned": Text("ended early", "提前结束"),
    "the one last look": Text("the one last look", "最后一次检验"),
}


def printable(text: str) -> str:
    """Replace control characters, direction overrides and broken surrogates by U+FFFD.

    Names come from models and file systems; what is shown must be what is there.
    """
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def both(key: str, **values: object) -> Markup:
    """Return a phrase in both languages; the style sheet shows one of them.

    Args:
        key: A key of :data:`TEXTS`.
        **values: What goes into the phrase. A :class:`Text` goes in by language; everything else
            is escaped.

    Returns:
        Two ``span`` elements of the classes ``en`` and ``zh``.
    """
    return _spans(say(key, "en", **values), say(key, "zh", **values))


def say(key: str, language: str, **values: object) -> str:
    """Return a phrase as plain text in one language, ``en`` or ``zh``."""
    filled = {
        name: getattr(value, language) if isinstance(value, Text) else printable(str(value))
        for name, value in values.items()
    }
    phrase: str = getattr(TEXTS[key], language)
    return phrase.format(**filled).replace(" %", "\N{NO-BREAK SPACE}%")


def word(name: str) -> Text:
    """Return a word of the record in both languages; an unknown one (a metric) as it is."""
    return WORDS.get(name, Text(printable(name), printable(name)))


def named(name: str) -> Markup:
    """Return a word of the record as :func:`both` does."""
    return _spans(*word(name))


def _spans(en: str, zh: str) -> Markup:
    pattern = '<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>'
    return Markup(pattern).format(en, zh)
