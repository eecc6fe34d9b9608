"""report.html: it says what was found, in both languages, and nothing in it runs or loads."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import re
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

import sprat
from sprat.evaluate.types import Evaluation, Flip, Interval, OutputDistance, Speed
from sprat.model.inspect import Inspection, LayerInfo
from sprat.model.wire import WireBytes
from sprat.record.schema import (
    CandidateRecord,
    ChoiceRecord,
    DataRecord,
    DistillationRecord,
    EpochRecord,
    FileRecord,
    LayerRecord,
    LogEntry,
    Outcome,
    Run,
    SplitRecord,
)
from sprat.report import figures
from sprat.report.labels import Box, place, text_width
from sprat.report.pictures import thumbnail
from sprat.report.plane import NARROW, Plane
from sprat.report.render import render
from sprat.report.texts import TEXTS, WORDS

ATTACKS = (
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=1">',
    "'; window.pwned=1; //",
    "</style></title></svg><svg onload=window.pwned=1>",
    "{{ 7 * 7 }}{% raw %}",
    "]]><!--",
)
#: What would reorder, hide or break the text around it.
UNSEEN = "gnp\u202eexe\x00\x1b[31m\udc80"
#: All elements that the report has a use for.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "nav", "button", "p"),
    *("h1", "h2", "h3", "b", "small", "span", "br", "div", "i", "dl", "dt", "dd", "ul", "li"),
    *("table", "thead", "tbody", "tr", "th", "td", "code", "pre", "img", "figure", "figcaption"),
    *("footer", "script", "svg", "desc", "g", "path", "line", "text"),
}
HOME = Path(sprat.__file__).parent / "report"


def evaluation(drop: float, split: str = "val", flips: tuple[Flip, ...] = ()) -> Evaluation:
    return Evaluation(
        split=split,
        samples=1234,
        metric="accuracy",
        reference=0.95,
        model=0.95 - drop / 100,
        drop=drop,
        interval=Interval(drop - 0.6, drop + 0.6),
        agreement=0.987,
        error=OutputDistance(1.5, 0.2, 21.0, 0.01),
        flips=flips,
    )


def candidate(
    name: str, method: str, size: int, drop: float, outcome: Outcome = "within budget"
) -> CandidateRecord:
    return CandidateRecord(
        name=name,
        method=method,
        outcome=outcome,
        sha256="a" * 64,
        wire=WireBytes(3 * size, round(1.2 * size), size),
        bits_per_weight=8 * size / 11e6,
        evaluation=evaluation(drop),
        speed=Speed(0.47, Interval(0.45, 0.52), 14.7, 6.9, 20, 1),
    )


def flips(count: int) -> tuple[Flip, ...]:
    names = [*(f"fish/{i:03}.png" for i in range(count - 3)), ATTACKS[1], UNSEEN, "broken.png"]
    answers = [("fish", "not_fish"), ("not_fish", "fish")]
    return tuple(
        Flip(name, "fish" if i % 3 else ATTACKS[0], *answers[i % 2], 0.99 - i / 100, 0.61)
        for i, name in enumerate(reversed(names))
    )


def inspection(layers: int) -> Inspection:
    wire = WireBytes(44_698_616, 41_500_000, 40_990_000)
    return Inspection(
        path="model.onnx",
        file_bytes=wire.raw,
        parameters=11_170_000,
        parameter_bytes=wire.raw,
        opset=12,
        ir_version=7,
        producer=ATTACKS[0],
        architecture="CNN, 20 Conv, 11.17 M parameters",
        inputs=(),
        outputs=(),
        operators={"Conv": layers},
        dtypes={"float32": wire.raw},
        layers=tuple(
            LayerInfo(
                name=ATTACKS[i % len(ATTACKS)] if i < 6 else f"/layer{i}/Conv",
                operator="Conv",
                weight=f"weight{i}",
                shape=(64, 64, 3, 3),
                bytes=1000,
                multiply_adds=1000,
                bytes_share=1 / layers,
                multiply_adds_share=1 / layers,
            )
            for i in range(layers)
        ),
        multiply_adds=1_800_000_000,
        waste=(),
        wire=wire,
        downloads=(),
        advice=(),
    )


def make_run(**changes: Any) -> Run:
    tried = [
        candidate("float16", "float16", 19_650_000, 0.0),
        candidate("weights-int8", "weights", 9_970_000, 0.08),
        candidate("dynamic", "dynamic", 8_570_000, -0.12),
        candidate("static-minmax", "static", 10_080_000, 0.2),
        candidate("static-entropy", "static", 10_082_000, 0.21),
        candidate("static-percentile", "static", 10_083_000, 0.19),
        candidate(ATTACKS[0], ATTACKS[1], 9_000_000, 2.4, "over budget"),
        candidate("rate-1", "rate-distortion", 1_900_000, 0.01),
        candidate("rate-2", "rate-distortion", 940_000, 0.1),
        candidate("rate-3", "rate-distortion", 488_000, 0.3, "chosen"),
        candidate("rate-4", "rate-distortion", 300_000, 1.6, "over budget"),
        candidate("rate-5", "rate-distortion", 120_000, 44.0, "over budget"),
        candidate("static-rate-3", "rate-distortion-static", 530_000, 0.4),
        candidate("static-rate-4", "rate-distortion-static", 340_000, 1.4, "over budget"),
        CandidateRecord(name=UNSEEN, method="static", outcome="failed", note=ATTACKS[3]),
    ]
    chosen = tried[9]
    assert chosen.wire is not None
    layers = tuple(
        LayerRecord(
            name=f"weight{i}",
            weights=36_864 * (1 + i),
            bits_per_weight=3 / (1 + i),
            sensitivity=0.02 / (1 + i) ** 2,
        )
        for i in range(12)
    )
    fields: dict[str, Any] = {
        "sprat": "0.1.0",
        "versions": {"python": "3.11.7", "onnxruntime": "1.32.0", "brotli": "1.2.1"},
        "machine": "Linux x86_64, 2 cores",
        "command": "sprat optimize 'fish model.onnx' --data photos --out small --seed 0",
        "seed": 0,
        "options": {"goal": "small"},
        "model": FileRecord(
            path=f"{ATTACKS[1]}.onnx",
            sha256="0" * 64,
            wire=WireBytes(44_698_616, 41_500_000, 40_990_000, estimated=True),
        ),
        "outputs": (FileRecord(path="model.onnx", sha256="1" * 64, wire=chosen.wire),),
        "data": DataRecord(
            source="photos",
            kind="folder",
            classes=("fish", ATTACKS[0]),
            preprocess={"size": [224, 224], "layout": "nchw", "crop": None},
            splits=(
                SplitRecord(name="val", samples=846, digest="2" * 64, role="choice"),
                SplitRecord(name="test", samples=1234, digest="3" * 64, role="the one last look"),
            ),
            notes=(f"the classes are guessed: {ATTACKS[0]}",),
        ),
        "inspection": inspection(40),
        "simplified": ("slim: kept, 72 -> 49 nodes",),
        "candidates": tuple(tried),
        "choice": ChoiceRecord(
            candidate=chosen.name,
            goal="small",
            max_drop=1.0,
            reason="Fewest br-11 bytes of 9 candidates within the budget.",
            validation=evaluation(0.3),
            test=evaluation(0.55, "test", flips(32)),
            speed=chosen.speed,
        ),
        "preview": candidate("rate-5", "rate-distortion", 120_000, 44.0, "over budget"),
        "layers": layers,
        "timings": {"clean": 3.8, "walk along the rate-distortion curve": 99.8},
        "log": (
            LogEntry(date="2026-11-24T13:17:15+00:00", operation="simplify", result="3 passes"),
            LogEntry(
                date="2026-11-24T13:19:01+00:00",
                operation=f"optimize {ATTACKS[1]}",
                result="40,990,000 to 488,000 bytes br-11",
                notes=ATTACKS[4],
            ),
        ),
    }
    return Run(**fields | changes)


class Parsed(HTMLParser):
    """A page taken apart: its tags with their attributes, and its text by language."""

    VOID = ("meta", "img", "br")

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[tuple[str, str]] = []
        self.parts: list[tuple[str, str, str]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        assert len(found) == len(attributes), "an attribute stands twice"
        self.tags.append((tag, found))
        if tag not in self.VOID:
            language = (self.inside[-1][1] if self.inside else "") or str(found.get("class") or "")
            self.inside.append((tag, language if language.split()[-1:] in (["en"], ["zh"]) else ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.inside and data.strip():
            self.parts.append((*self.inside[-1], data))

    def text(self, language: str) -> str:
        """Return the text as one reads it in a language, spaces made one."""
        shown = [
            data
            for tag, spoken, data in self.parts
            if tag not in ("style", "script", "title", "desc")
            and (not spoken or spoken.split()[-1] == language)
        ]
        return " ".join(" ".join(shown).split())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path | bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    found: dict[str, Path | bytes] = {}
    for i in range(32):
        path = folder / f"{i}.png"
        Image.new("RGB", (300, 200 + i), (10 * (i % 20), 90, 160)).save(path)
        found[f"fish/{i:03}.png"] = path
    found["broken.png"] = b"<svg onload=alert(1)>"
    return found


@pytest.fixture(scope="module")
def page(pictures: dict[str, Path | bytes]) -> str:
    return render(make_run(), samples=pictures)


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_verdict_comes_first_and_in_plain_words(page: str) -> None:
    english = Parsed(page).text("en")
    verdict = english[: english.index("Checklist")]
    for phrase in (
        "From 41.0 MB to 488 kB",
        "84 times fewer bytes to download, and it still does its job.",
        "On disk: 44.7 MB to 1.46 MB.",
        "estimated",
        "95.00 % → 94.45 %",
        "accuracy on 1,234 samples of test",
        "+0.55",
        "95 % interval −0.05 to +1.15",
        "0.47 of the original's native time",
        "32.8 s → 0.39 s",
    ):
        assert phrase in verdict


def test_the_sections_stand_in_the_order_of_the_story(page: str) -> None:
    english = Parsed(page).text("en")
    keys = ("checklist", "chart", "download", "candidates", "flips", "layers", "preview", "log")
    places = [english.index(f"{TEXTS[key].en} ") for key in (*keys, "reproduce")]
    assert places == sorted(places)


def test_every_candidate_is_in_the_table_with_its_figures(page: str) -> None:
    english = Parsed(page).text("en")
    assert "rate-3 rate-distortion 488,000 0.35 +0.30 −0.30 … +0.90 98.70 % 0.47 chosen" in english
    assert "rate-5 rate-distortion 120,000 0.09 +44.00" in english
    for record in make_run().candidates[:-1]:
        assert squeezed(record.name) in english


def test_the_samples_that_flipped_are_shown_and_the_rest_counted(page: str) -> None:
    parsed = Parsed(page)
    english = parsed.text("en")
    sources = [str(a["src"]) for tag, a in parsed.tags if tag == "img"]
    assert len(sources) == 21, "24 samples: one broken image, two that are no images"
    assert "32 of 1,234 samples of test" in english
    assert "8 more are in run.json." in english
    assert english.count("cannot be shown") == 1
    for source in sources:
        head, _, content = source.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert max(image.size) <= 144


def test_how_to_reproduce_it_is_all_there(page: str) -> None:
    english = Parsed(page).text("en")
    run = make_run()
    for phrase in (
        run.command,
        run.machine,
        "onnxruntime 1.32.0",
        "0" * 64,
        "1" * 64,
        "2" * 64,
        "the one last look",
        "size [224, 224]",
    ):
        assert phrase in english


def test_each_phrase_stands_in_both_languages(page: str) -> None:
    parsed = Parsed(page)
    spans = Counter(str(a.get("class")) for tag, a in parsed.tags if tag == "span")
    assert spans["en"] == spans["zh"] > 100
    chinese = parsed.text("zh")
    assert "从 41.0 MB 缩小到 488 kB" in chinese
    assert "Checklist" not in chinese
    assert "检查清单" in chinese


@pytest.mark.parametrize("key", sorted(TEXTS))
def test_a_phrase_says_the_same_in_both_languages_and_is_used(key: str) -> None:
    english, chinese = TEXTS[key]
    holes = [sorted(re.findall(r"\{(\w+)\}", text)) for text in (english, chinese)]
    assert holes[0] == holes[1]
    assert english.strip()
    assert chinese.strip()
    sources = [*HOME.rglob("*.py"), *HOME.rglob("*.j2")]
    used = "".join(p.read_text(encoding="utf-8") for p in sources if p.name != "texts.py")
    dynamic = key.startswith(("reason_", "state_")) or key in ("better", "worse")
    assert dynamic or re.search(rf"[\"']{key}[\"']", used)


def test_words_of_the_record_are_all_translated() -> None:
    outcomes = ("chosen", "within budget", "over budget", "not better", "failed")
    assert set(outcomes) | {"accuracy", "agreement", "concordance", "equal integers"} <= set(WORDS)


def test_hostile_names_are_text_and_nothing_else(page: str) -> None:
    parsed = Parsed(page)
    english = parsed.text("en")
    for attack in ATTACKS:
        assert squeezed(attack) in english
    counts = Counter(tag for tag, _ in parsed.tags)
    assert counts["script"] == counts["style"] == 1
    assert set(counts) <= TAGS
    for tag, attributes in parsed.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not {"href", "xlink:href", "srcset", "action", "data"} & set(attributes)
        assert tag == "img" or "src" not in attributes
        assert "url(" not in str(attributes.get("style", ""))


def test_what_would_reorder_or_break_the_text_is_made_visible(page: str) -> None:
    assert not re.search("[\u202e\x00\x1b\udc80]", page)
    assert "gnp�exe��[31m�" in page
    page.encode()


def test_the_policy_lets_only_its_own_script_run(page: str) -> None:
    policy = next(
        str(a["content"])
        for tag, a in Parsed(page).tags
        if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    )
    script = page[page.index("<script>") + 8 : page.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


def test_ids_stand_once_and_what_points_at_them_exists(page: str) -> None:
    tags = Parsed(page).tags
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["aria-labelledby"] for _, a in tags if "aria-labelledby" in a} <= set(ids)


def test_each_chart_has_a_title_and_a_description_in_its_language(page: str) -> None:
    charts = re.findall(
        r'<div class="chart (wide|narrow) (en|zh)"><svg[^>]*role="img">(.*?)</desc>', page
    )
    assert Counter((shape, language) for shape, language, _ in charts) == Counter(
        {(s, lang): 2 for s in ("wide", "narrow") for lang in ("en", "zh")}
    )
    for _, language, head in charts:
        title = "chart" if "14" in head else "bits_chart"
        assert getattr(TEXTS[title], language) in head


def test_the_chart_names_peers_choice_and_budget(page: str) -> None:
    wide = page[page.index('<div class="chart wide en">') :]
    wide = wide[: wide.index("</svg>")]
    names = re.findall(r"<text[^>]*>([^<]*)</text>", wide)
    assert {"dynamic", "weights-int8", "float16", "rate-3", "original", "budget 1"} <= set(names)
    assert "+44.00" in names, "a collapse stands at the edge with its figure"
    assert "rate-1" not in names, "the curve's points are not named one by one"
    assert {"300 kB", "1 MB", "10 MB"} <= set(names)


def test_the_same_run_gives_the_same_page(page: str, pictures: dict[str, Path | bytes]) -> None:
    assert render(make_run(), samples=dict(reversed(pictures.items()))) == page


def choice_of(run: Run, **changes: Any) -> Run:
    return run.model_copy(update={"choice": run.choice.model_copy(update=changes)})


def test_a_missed_last_look_is_not_called_a_success() -> None:
    english = Parsed(render(choice_of(make_run(), test=evaluation(1.8, "test")))).text("en")
    assert "but the last look is over the accuracy budget" in english
    assert "still does its job" not in english
    assert "fails Accuracy" in english


def test_nothing_found_is_said_in_one_line() -> None:
    run = make_run()
    same = FileRecord(path="model.onnx", sha256="0" * 64, wire=run.model.wire)
    run = choice_of(run, candidate="original", test=None, speed=None, validation=evaluation(0.0))
    english = Parsed(render(run.model_copy(update={"outputs": (same,)}))).text("en")
    assert "Nothing smaller holds the budget" in english
    assert "times fewer" not in english
    assert "fails Size" in english
    assert "not measured" in english


def test_a_choice_without_a_test_set_says_so() -> None:
    same = replace(evaluation(0.41), agreement=1.0)
    run = choice_of(make_run(), test=None, validation=same)
    english = Parsed(render(run)).text("en")
    assert "Measured on the samples that the choice was made on" in english
    assert "No sample changed its answer." in english


def test_answers_that_agree_by_degrees_are_not_called_unchanged() -> None:
    degrees = replace(evaluation(0.55, "test"), metric="concordance", agreement=0.9945)
    english = Parsed(render(choice_of(make_run(), test=degrees))).text("en")
    assert "No sample changed its answer." not in english
    assert "These answers agree by degrees, 99" in english


def test_an_interval_beyond_the_budget_is_pointed_out(page: str) -> None:
    assert "The interval reaches above the budget" in Parsed(page).text("en")


def test_a_slower_model_is_not_called_fast() -> None:
    slow = Speed(1.76, Interval(1.7, 1.8), 14.7, 25.9, 20, 1)
    english = Parsed(render(choice_of(make_run(), speed=slow))).text("en")
    assert "note Inference speed" in english


@pytest.mark.parametrize(
    "changes",
    [
        {"candidates": ()},
        {"layers": (), "preview": None, "simplified": (), "timings": {}, "log": ()},
        {"layers": (LayerRecord(name="w", weights=0, bits_per_weight=0.0, sensitivity=0.0),)},
        {"layers": (LayerRecord(name="w", weights=9, bits_per_weight=2.0, sensitivity=math.nan),)},
        {"inspection": replace(inspection(1), layers=())},
        {"candidates": (candidate("nan", "static", 9, math.nan), candidate("b", "c", 0, 1e9))},
        {"candidates": (candidate("n" * 100_000, "m" * 100_000, 5_000, 0.1),)},
    ],
)
def test_odd_runs_are_shown_too(changes: dict[str, Any]) -> None:
    page = render(make_run(**changes))
    Parsed(page)
    assert len(page) < 400_000


@pytest.mark.parametrize("epochs", [1, 40])
def test_a_training_is_drawn_and_told(epochs: int) -> None:
    curve = tuple(
        EpochRecord(
            epoch=i + 1,
            loss=1 / (i + 1) if i else math.nan,
            soft=1.0,
            hard=0.0,
            rate=1e-3,
            score=0.9 - 0.3 / (i + 1),
            agreement=0.92 - 0.3 / (i + 1),
            divergence=0.1,
            seconds=1.0,
        )
        for i in range(epochs)
    )
    taught = DistillationRecord(
        student="mobilenet_v3_small",
        width=1.0,
        size=(112, 112),
        weights="none",
        parameters=1_518_881,
        opset=17,
        recipe={},
        augmentation="drawing",
        planned=50,
        ended="patience",
        best=epochs,
        curve=curve,
    )
    page = render(make_run(distillation=taught))
    english = Parsed(page).text("en")
    assert "mobilenet_v3_small with 1,518,881 parameters learned from" in english
    assert f"{epochs} of 50 planned epochs; ended by: no further gain." in english
    assert f"best: epoch {epochs}," in page
    assert "在验证样本上表现最好的一轮" in Parsed(page).text("zh")
    assert "Training" not in Parsed(render(make_run())).text("en")


def test_a_run_with_the_tightest_budget_is_shown() -> None:
    Parsed(render(choice_of(make_run(), max_drop=0.0)))


def test_weights_that_cleaning_made_stand_after_the_layers() -> None:
    made = LayerRecord(name="folded", weights=9, bits_per_weight=2.5, sensitivity=0.1)
    rows = figures.layer_rows(make_run(layers=(made,)))
    assert (rows[-1].name, rows[-1].layer, rows[-1].bits) == ("folded", None, made)


def test_a_picture_is_small_and_the_same_from_a_file_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.effect_mandelbrot((900, 600), (-2, -1, 1, 1), 50).convert("RGB").save(path)
    url = thumbnail(path)
    assert url is not None
    assert url == thumbnail(path.read_bytes())
    assert len(url) < 40_000


def test_an_image_that_unpacks_to_gigabytes_is_not_opened() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    assert thumbnail(bomb + chunk(b"IEND", b"")) is None


@given(st.integers(0, 1 << 50))
def test_a_size_reads_back_to_a_fraction_of_a_per_cent(count: int) -> None:
    number, unit = figures.size(count).split("\N{NO-BREAK SPACE}")
    value = float(number.replace(",", "")) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9}[unit]
    assert math.isclose(value, count, rel_tol=0.006)


@given(st.floats(-100, 100))
def test_points_carry_their_sign_and_zero_has_none(value: float) -> None:
    text = figures.signed(value)
    assert math.isclose(float(text.replace("−", "-")), value, abs_tol=0.0051)
    assert text == "0.00" or text[0] == ("+" if value > 0 else "−")


@given(st.text(), st.integers(3, 40))
def test_a_long_name_keeps_both_ends(name: str, length: int) -> None:
    cut = figures.short(name, length)
    assert len(cut) <= max(length, 0)
    assert cut == name or (cut[0] == name[0] and cut[-1] == name[-1])


@given(
    st.lists(
        st.tuples(
            st.floats(0, 300), st.floats(0, 200), st.text("abcdé鱼", min_size=1, max_size=20)
        ),
        max_size=12,
    )
)
def test_names_lie_in_the_frame_and_on_nothing(points: list[tuple[float, float, str]]) -> None:
    frame = Box(0, 0, 300, 200)
    dots = [Box(x - 5, y - 5, x + 5, y + 5) for x, y, _ in points]
    boxes = place(
        [(x, y) for x, y, _ in points],
        [9.0] * len(points),
        [text_width(name, 12) for _, _, name in points],
        frame,
        dots,
    )
    placed = [box for box in boxes if box is not None]
    assert len(boxes) == len(points)
    for i, box in enumerate(placed):
        assert box.within(frame)
        assert not any(box.meets(other) for other in [*dots, *placed[:i]])


@given(st.floats(1e3, 1e7), st.floats(-3, 3))
def test_a_point_and_its_pixel_are_one(x: float, y: float) -> None:
    plane = Plane(NARROW, (1e3, 1e7), (-3.0, 3.0))
    back = plane.point(*plane.pixel(x, y))
    assert math.isclose(back[0], x, rel_tol=1e-9)
    assert math.isclose(back[1], y, abs_tol=1e-9)


# In a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail(f"none of {', '.join(names)} is installed: run 'make chromium'")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, page: str) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


class Visit:
    """A page opened in the browser, with all that it said and asked for."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.said: list[str] = []
        self.asked: list[str] = []
        self.context = browser.new_context(**options)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def heading(self) -> str:
        return squeezed(self.page.inner_text("h1"))

    def width(self) -> int:
        width: int = self.page.evaluate("document.documentElement.scrollWidth")
        return width


def test_it_opens_without_a_word_or_a_request(browser: Browser, file: Path) -> None:
    with Visit(browser, file, locale="en-US") as visit:
        assert visit.said == []
        assert [url for url in visit.asked if not url.startswith("data:")] == [file.as_uri()]
        assert visit.page.evaluate("window.pwned") is None
        shown = visit.page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth > 0)")
        assert shown


def test_an_added_script_does_not_run(browser: Browser, file: Path) -> None:
    with Visit(browser, file) as visit:
        visit.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " {textContent: 'window.pwned = 1'}))"
        )
        assert visit.page.evaluate("window.pwned") is None
        assert "Content Security Policy" in visit.said[0]


def test_the_language_follows_the_browser_and_the_switch(browser: Browser, file: Path) -> None:
    with Visit(browser, file, locale="zh-CN") as visit:
        assert visit.heading() == "从 41.0 MB 缩小到 488 kB"
        assert visit.page.get_attribute("html", "lang") == "zh-Hans"
        visit.page.click("button[lang=en]")
        assert visit.heading() == "From 41.0 MB to 488 kB"
        assert visit.page.get_attribute("button[lang=en]", "aria-pressed") == "true"
        visit.page.click("text=中文")
        assert visit.heading() == "从 41.0 MB 缩小到 488 kB"
        assert len(visit.asked) == len(set(visit.asked)), "nothing was loaded again"
        assert visit.said == []


def test_without_javascript_it_is_english(browser: Browser, file: Path) -> None:
    with Visit(browser, file, locale="zh-CN", java_script_enabled=False) as visit:
        assert visit.heading() == "From 41.0 MB to 488 kB"
        assert not visit.page.is_visible("nav")


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_page_scrolls_sideways(browser: Browser, file: Path, width: int, locale: str) -> None:
    viewport = {"width": width, "height": 844}
    with Visit(browser, file, viewport=viewport, locale=locale) as visit:
        assert visit.width() <= width
        charts = visit.page.locator("figure svg:visible")
        assert charts.count() == 2
        assert charts.first.evaluate("svg => svg.getBoundingClientRect().width") > 0.75 * min(
            width, 700
        )


def test_on_paper_nothing_is_cut_off(browser: Browser, file: Path) -> None:
    with Visit(browser, file, viewport={"width": 690, "height": 900}) as visit:
        visit.page.emulate_media(media="print", color_scheme="dark")
        assert visit.width() <= 690
        assert not visit.page.is_visible("nav")
        paper = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == "rgb(255, 255, 255)"
        assert visit.page.pdf(format="A4").startswith(b"%PDF")


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the ratio that WCAG 2.2 defines."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, file: Path, scheme: str) -> None:
    with Visit(browser, file, color_scheme=scheme) as visit:
        names = [
            *("paper", "panel", "ink", "soft", "accent", "on-accent"),
            *("good", "bad", "warn", "peer"),
        ]
        colour = visit.page.evaluate(
            "names => Object.fromEntries(names.map(n => [n, getComputedStyle("
            "document.documentElement).getPropertyValue('--' + n).trim()]))",
            names,
        )
    assert (luminance(colour["paper"]) > 0.5) == (scheme == "light")
    for name in ("ink", "soft", "accent", "good", "bad", "warn"):
        assert contrast(colour[name], colour["paper"]) >= 4.5, name
        assert contrast(colour[name], colour["panel"]) >= 4.5, name
    assert contrast(colour["on-accent"], colour["accent"]) >= 4.5
    assert contrast(colour["peer"], colour["paper"]) >= 3, "what is drawn needs 3"


def test_the_charts_take_the_colours_of_the_page(browser: Browser, file: Path) -> None:
    inks = []
    for scheme in ("light", "dark"):
        with Visit(browser, file, color_scheme=scheme) as visit:
            inks.append(
                visit.page.locator("figure svg:visible .role-mark text").first.evaluate(
                    "text => getComputedStyle(text).fill"
                )
            )
    assert inks == ["rgb(27, 37, 48)", "rgb(230, 237, 243)"]
