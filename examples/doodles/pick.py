"""Pick the example's doodles: a seeded, class-balanced few of each split, at 64 x 64.

Usage:
    python examples/doodles/pick.py --data DOODLES --out examples/doodles/data
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image

SIZE = 64
COUNTS = {"train": 120, "val": 200, "test": 120}


def main() -> None:
    """Copy some doodles of each class, as many as its share of the split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    for split, count in COUNTS.items():
        files = sorted((options.data / split).glob("*/*.png"))
        for label in sorted({f.parent.name for f in files}):
            own = [f for f in files if f.parent.name == label]
            share = round(count * len(own) / len(files))
            target = options.out / split / label
            target.mkdir(parents=True, exist_ok=True)
            for file in random.Random(0).sample(own, share):
                with Image.open(file) as image:
                    small = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                small.save(target / file.name, optimize=True)


if __name__ == "__main__":
    main()
