"""The pages of the repository say what the last benchmark measured."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WEB = json.loads((ROOT / "benchmarks/results/browser.json").read_text())
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
