"""The picture of the rooms is the contract that import-linter checks."""

import runpy
from pathlib import Path


def test_the_picture_is_the_contract() -> None:
    script = runpy.run_path(str(Path(__file__).parents[1] / "docs/rooms.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert page == script["drawn"](page), "run 'python docs/rooms.py'"
    assert "flowchart" in page
