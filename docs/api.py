"""The API page, out of the docstrings: ``python docs/api.py [FOLDER]`` (``out/api`` by default).

pdoc renders them; there is no other source and nothing to configure. What is documented is what
``sprat.__all__`` promises, and the records and errors that those functions give back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pdoc

import sprat

#: Everything below ``sprat`` is left out first, and then what a caller gets to see is named.
SPECS = (
    "sprat",
    r"!sprat\..*",
    "sprat.errors",
    "sprat.record.schema",
    "sprat.model.inspection",
    "sprat.evaluate.types",
    "sprat.browser.types",
    "sprat.delivery.manifest",
)


def build(folder: Path) -> Path:
    """Write the pages.

    Args:
        folder: Made if it is missing.

    Returns:
        The first page.
    """
    for name in sprat.__all__:  # they are imported when first used, and pdoc only looks
        setattr(sprat, name, getattr(sprat, name))
    pdoc.render.configure(docformat="google", search=True, show_source=False)
    folder.mkdir(parents=True, exist_ok=True)
    pdoc.pdoc(*SPECS, output_directory=folder)
    return folder / "sprat.html"


if __name__ == "__main__":
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else "out/api")))
