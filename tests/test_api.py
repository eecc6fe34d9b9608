"""The API page builds without a warning, and each public name says what there is to know."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import sprat
from sprat.errors import SpratError

ROOT = Path(__file__).parents[1]
NAMES = [name for name in sprat.__all__ if name != "__version__"]


def section(text: str, title: str) -> str:
    """Return a section of a Google-style docstring; empty where there is none."""
    _, _, rest = text.partition(f"\n{title}:\n")
    return rest.partition("\n\n")[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name: str) -> None:
    value = getattr(sprat, name)
    text = inspect.getdoc(value) or ""
    assert text.partition("\n")[0].endswith("."), text
    if inspect.isfunction(value):
        told = section(text, "Args")
        for parameter in inspect.signature(value).parameters:
            assert f"{parameter}: " in told, parameter
        assert section(text, "Raises"), "which errors?"
        if inspect.signature(value).return_annotation != "None":
            assert section(text, "Returns") or section(text, "Yields")
    elif not issubclass(value, SpratError):
        fields = getattr(value, "model_fields", None) or [
            field.name for field in dataclasses.fields(value)
        ]
        for field in fields:
            assert f"{field}: " in section(text, "Attributes"), field


def test_the_api_page_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "docs/api.py", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "sprat.html").read_text(encoding="utf-8")
    assert not [name for name in NAMES if f'id="{name}"' not in page]
