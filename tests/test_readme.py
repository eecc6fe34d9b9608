"""The pages of the repository say what the last benchmark measured."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
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
