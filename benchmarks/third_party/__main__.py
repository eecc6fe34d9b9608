"""Write the three data sets and check them with the original models."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.third_party import find_model, make_direction, make_magika, make_recognizer
from benchmarks.third_party.check import check_direction, check_magika, check_recognizer


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.third_party", description=__doc__)
    parser.add_argument("out", type=Path, help="gets direction/, recognizer/ and magika/")
    parser.add_argument("--site", type=Path, help="where pip install --target put the wheels")
    options = parser.parse_args()
    for name, make, check in (
        ("direction", make_direction, check_direction),
        ("recognizer", make_recognizer, check_recognizer),
        ("magika", make_magika, check_magika),
    ):
        model = find_model(name, options.site)
        folder = make(options.out / name)
        print(f"{name}: {check(folder, model)}", flush=True)


if __name__ == "__main__":
    main()
