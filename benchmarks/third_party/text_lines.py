"""Pictures of lines of text, for the direction classifier and the recognizer of PP-OCR.

Pictures have the model's size already: scaled to its height, squeezed if too wide, else padded on
the right with mid-grey, which is zero after normalisation. So plain ``stretch`` preprocessing does
to them what the models were trained with.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

HEIGHT = 48
DIRECTION_WIDTH = 192
RECOGNIZER_WIDTH = 320
DIRECTIONS = ("0", "180")
_GREY = (128, 128, 128)
_FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/Library/Fonts"))
_LATIN = ("DejaVuSans", "DejaVuSerif", "LiberationSans", "LiberationSerif", "LiberationMono")
_CHINESE = ("NotoSansCJK", "NotoSerifCJK")

_WORDS = (
    "invoice total amount street garden market coffee ticket number north window battery "
    "library express station airport platform customer receipt delivery morning weather "
    "kitchen bridge river mountain summer autumn history museum gallery theatre student "
    "teacher science physics letter paper printer monitor keyboard engine wheel bicycle "
    "traffic parking hotel reception breakfast quality control warning danger private "
    "entrance closed open please welcome thank return address member price discount product "
    "service support travel insurance contract signature page chapter volume figure table "
    "result method network signal channel version release update system memory"
)
_PHRASES = (
    "欢迎光临 请勿吸烟 注意安全 出口 入口 停车场 服务中心 北京市 上海市 人民医院 中国银行 "
    "火车站 飞机场 图书馆 大学校园 电子发票 合计金额 收款单位 营业时间 联系电话 地址 数量 "
    "单价 商品名称 有限公司 质量保证 生产日期 保质期 使用说明 注意事项 新鲜水果 咖啡馆 书店 "
    "超市 早餐 晚餐 今日特价 免费停车 身份证 驾驶证 车票 候车室 检票口 公共汽车 地铁站 "
    "博物馆 动物园 花园路 建设大街 解放路 和平广场 天气预报 多云转晴 科学技术 计算机系 "
    "数据中心 网络安全 学习强国 工作报告 会议通知 报名时间 姓名 性别 年龄 日期 电话号码"
)

_DIRECTION_TOML = f"""# How PP-OCR reads a picture: BGR, -1 to 1.
[data]
size = [{HEIGHT}, {DIRECTION_WIDTH}]
resize = "stretch"
channels = "bgr"
layout = "nchw"
scale = 0.00392156862745098
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]

[output]
kind = "classes"
"""
_RECOGNIZER_TOML = _DIRECTION_TOML.replace(str(DIRECTION_WIDTH), str(RECOGNIZER_WIDTH)).replace(
    '"classes"', '"sequence"'
)


@dataclass(frozen=True)
class Fonts:
    """Font files by what they can write."""

    latin: tuple[Path, ...]
    chinese: tuple[Path, ...]


def find_fonts() -> Fonts:
    """Find the fonts, sorted by name so that a seed means the same everywhere.

    Raises:
        FileNotFoundError: The packages fonts-dejavu-core, fonts-liberation and fonts-noto-cjk, or
            fonts of the same names, are not installed.
    """
    files = sorted(
        (f for folder in _FONT_FOLDERS for f in folder.rglob("*.tt[fc]")), key=lambda f: f.name
    )
    latin = tuple(f for f in files if f.stem.split("-")[0] in _LATIN)
    chinese = tuple(f for f in files if f.stem.split("-")[0] in _CHINESE)
    if not latin or not chinese:
        raise FileNotFoundError(
            "fonts are missing: apt-get install fonts-dejavu-core fonts-liberation fonts-noto-cjk"
        )
    return Fonts(latin, chinese)


def make_direction(folder: Path, *, seed: int = 0) -> Path:
    """Write a labelled set for the direction classifier: upright lines and lines on their head.

    Args:
        folder: Gets ``{train,val,test}/{0,180}/*.png`` at 48 x 192 and ``sprat.toml``.
        seed: Another seed gives other pictures.

    Returns:
        ``folder``.
    """
    for split, count in (("train", 512), ("val", 800), ("test", 800)):
        for i, (line, _) in enumerate(_lines(f"direction {seed} {split}", count)):
            label = DIRECTIONS[i % 2]
            turned = line.rotate(180) if label == "180" else line
            _save(turned, folder / split / label / f"{i:04}.png", DIRECTION_WIDTH)
    (folder / "sprat.toml").write_text(_DIRECTION_TOML, encoding="utf-8")
    return folder


def make_recognizer(folder: Path, *, seed: int = 0, count: int = 300) -> Path:
    """Write an unlabelled flat set for the recognizer.

    Args:
        folder: Gets ``*.png`` at 48 x 320, ``sprat.toml``, and beside the folder
            ``FOLDER.texts.tsv`` with what each picture says (for a look; the set stays unlabelled).
        seed: Another seed gives other pictures.
        count: How many.

    Returns:
        ``folder``.
    """
    texts = []
    for i, (line, text) in enumerate(_lines(f"recognizer {seed}", count)):
        _save(line, folder / f"{i:04}.png", RECOGNIZER_WIDTH)
        texts.append(f"{i:04}.png\t{text}\n")
    (folder / "sprat.toml").write_text(_RECOGNIZER_TOML, encoding="utf-8")
    folder.with_name(f"{folder.name}.texts.tsv").write_text("".join(texts), encoding="utf-8")
    return folder


def _lines(seed: str, count: int) -> Iterator[tuple[Image.Image, str]]:
    """Yield pictures of lines, each from a seed of its own, with their text."""
    fonts = find_fonts()
    for i in range(count):
        rng = random.Random(f"{seed} {i}")
        chinese = rng.random() < 0.45
        text = _chinese_text(rng) if chinese else _latin_text(rng)
        yield _render(text, rng.choice(fonts.chinese if chinese else fonts.latin), rng), text


def _latin_text(rng: random.Random) -> str:
    words = [rng.choice(_WORDS.split()) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.35:
        words.append(_number(rng))
    case = rng.choice((str.lower, str.title, str.upper, str.capitalize))
    return case(" ".join(words))


def _chinese_text(rng: random.Random) -> str:
    text = "".join(rng.sample(_PHRASES.split(), rng.randint(1, 3)))
    return text + (_number(rng) if rng.random() < 0.3 else "")


def _number(rng: random.Random) -> str:
    return rng.choice(
        (
            f"{rng.randint(1, 999)}.{rng.randint(0, 99):02}",
            f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
            f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}",
            f"No.{rng.randint(100, 99999)}",
        )
    )


def _render(text: str, file: Path, rng: random.Random) -> Image.Image:
    """Draw a line in random colours and size, tilt, soften and roughen it a little."""
    size = rng.randint(22, 56)
    font = ImageFont.truetype(str(file), size)
    left, top, right, bottom = (round(v) for v in font.getbbox(text))
    edge = rng.randint(size // 8, size // 3)
    shade = (rng.randint(170, 255), rng.randint(0, 90))
    paper, ink = shade if rng.random() < 0.8 else shade[::-1]
    picture = Image.new(
        "RGB", (right - left + 2 * edge, bottom - top + 2 * edge), _tint(paper, rng)
    )
    ImageDraw.Draw(picture).text((edge - left, edge - top), text, _tint(ink, rng), font)
    picture = picture.rotate(
        rng.uniform(-1.5, 1.5), Image.Resampling.BICUBIC, fillcolor=picture.getpixel((0, 0))
    )
    picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, size / 40)))
    noise = np.random.default_rng(rng.getrandbits(32)).normal(
        0, rng.uniform(0, 12), (picture.height, picture.width, 3)
    )
    rough = np.asarray(picture, np.float64) + noise
    return Image.fromarray(np.clip(np.rint(rough), 0, 255).astype(np.uint8))


def _tint(shade: int, rng: random.Random) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, shade + rng.randint(-30, 30))) for _ in range(3))
    return red, green, blue


def _save(line: Image.Image, path: Path, width: int) -> None:
    """Scale to the height, squeeze to at most ``width``, pad on the right, write."""
    scaled = min(width, max(1, round(line.width * HEIGHT / line.height)))
    picture = Image.new("RGB", (width, HEIGHT), _GREY)
    picture.paste(line.resize((scaled, HEIGHT), Image.Resampling.BILINEAR), (0, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
