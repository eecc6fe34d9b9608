"""The pages of the repository say what the last benchmark measured."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.__main__ import HELPERS, INDEX

ROOT = Path(__file__).parents[1]
WEB = json.loads((ROOT / "benchmarks/results/browser.json").read_text())
LEAN = json.loads((ROOT / "benchmarks/results/lean.json").read_text())
ROWS = json.loads((ROOT / "benchmarks/results/fish.json").read_text())["rows"]


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize("row", ROWS, ids=[r["name"] for r in ROWS])
def test_the_fish_figures(page: str, row: dict[str, float]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith(f"| {row['name']} |"))
    assert f"{row['brotli'] / 1e6:.2f} MB" in line
    assert f"{row['drop']:+.2f}" in line
    assert f"{row['agreement']:.1%}" in line
    assert f"{row['ratio']:.2f}" in line


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_figures_of_the_browser(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for visit in WEB["pages"]:
        told = ("before: original, default build", "after: Sprat, --goal small")
        if visit["subject"] in told and visit["mbps"] in (10.0, 1.0):
            assert f"{visit['seconds']:.2f} s" in text
    assert {form["samples"] for form in WEB["forms"]} == {256}
    assert {form["flips"] for form in WEB["forms"]} == {0}


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_fish_sentence(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"{ROWS[0]['reference']:.2%}" in text
    assert f"{ROWS[0]['samples']:,}" in text


def cells(line: str) -> list[str]:
    return [cell.strip(" *") for cell in line.strip("|").split("|")]


def lines_of(table: str) -> list[list[str]]:
    """Return the rows of a Markdown table below its head."""
    return [cells(line) for line in table.splitlines()[2:] if line.startswith("|")]


def test_the_table_of_the_lean_runtime() -> None:
    page = (ROOT / "docs/lean.md").read_text(encoding="utf-8")
    told = {row[0]: row[1:] for row in lines_of(page[page.index("| network | time, ratio") :])}
    measured = {row[0].partition(" (")[0]: row for row in lines_of(LEAN["time"])}
    assert told.keys() == measured.keys()
    for name, (ratio, first, memory) in told.items():
        _, _, _, lean, _, first_ratio, heap = measured[name]
        assert (ratio, first, memory) == (lean.partition("*")[0], first_ratio, heap)


def test_the_sentences_of_the_lean_runtime() -> None:
    page = " ".join((ROOT / "docs/lean.md").read_text(encoding="utf-8").split())
    visits = {(row[0], row[1]): row[2].partition(" s")[0] for row in lines_of(LEAN["visits"])}
    for line, words in (("10 Mbps, 50 ms", "10 Mbps"), ("1 Mbps, 300 ms", "1 Mbps")):
        ours, theirs = visits["lean", line], visits["ort", line]
        assert f"{ours} s at {words} ({theirs}" in page
    sizes = dict(lines_of(LEAN["bytes"]))
    assert f"{sizes['runtime, executor and plan together']} KB in br-11" in page
    assert f"ONNX Runtime Web is {float(sizes['ONNX Runtime Web']):,.0f} KB" in page


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_the_student(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    end = text.index("benchmarks/results/student.md")
    told = re.findall(r"\d+,\d{3}|[+-]\d\.\d\d|0\.\d{3}", text[text.rindex("\n\n", 0, end) : end])
    assert len(told) == 5
    measured = (ROOT / "benchmarks/results/student.md").read_text(encoding="utf-8")
    assert [figure for figure in told if figure not in measured] == []


@pytest.mark.parametrize("page", ["docs/delivery.md", "docs/delivery.zh-CN.md"])
def test_what_a_visitor_gets(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    start = text.index("benchmarks/results/fish_page.md")
    section = text[start : text.index("\n## ", start)]
    measured = (ROOT / "benchmarks/results/fish_page.md").read_text(encoding="utf-8")
    told = re.findall(r"\d+\.\d\d s", section)
    assert told
    assert [figure for figure in told if figure not in measured] == []


def test_every_benchmark_is_in_the_index() -> None:
    modules = {p.stem for p in (ROOT / "benchmarks").glob("*.py") if not p.stem.startswith("__")}
    assert {f.name for f in INDEX} - {"sprat"} == modules - set(HELPERS)
    for figures in INDEX:
        path = ROOT / f"benchmarks/{figures.name}.py"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for option in re.findall(r"--[a-z]+", figures.words):
            assert figures.name == "sprat" or f'"{option}"' in text
