"""Draw the rooms of ``src/sprat`` from the contract of import-linter: ``python docs/rooms.py``.

The picture goes into ``docs/architecture.md`` between its two marks. What stands lower may not
import what stands higher, and rooms side by side do not import each other.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs/architecture.md"
_BEGIN, _END = "<!-- rooms: python docs/rooms.py -->\n", "<!-- end of rooms -->\n"


def drawn(page: str) -> str:
    """Return the page with the picture as the contract has it now."""
    before, _, rest = page.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{_picture(_layers())}{_END}{after}"


def _layers() -> list[list[str]]:
    settings = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return [
        [room.strip().removeprefix("sprat.") for room in layer.split("|")]
        for layer in contract["layers"]
    ]


def _picture(layers: list[list[str]]) -> str:
    lines = ["```mermaid", "flowchart TB"]
    for i, rooms in enumerate(layers):
        lines += [f"  subgraph layer{i}[ ]", *(f"    {room}_[{room}]" for room in rooms), "  end"]
    lines += [f"  layer{i} --> layer{i + 1}" for i in range(len(layers) - 1)]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
