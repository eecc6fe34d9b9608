"""``python -m fuzz``: run a campaign, keep what went wrong, print counts."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from fuzz.campaign import Tally, campaign, contained
from fuzz.mutate import mutant
from fuzz.seeds import seeds
from fuzz.targets import TARGETS


def main() -> int:
    """Return 0 where every mutant ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="index of the first mutant")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--targets", default=",".join(TARGETS), help="with commas between them")
    parser.add_argument("--keep", type=Path, default=Path("out/fuzz"), help="for what went wrong")
    options = parser.parse_args()
    targets = options.targets.split(",")
    start = time.perf_counter()
    tally = campaign(
        options.count,
        options.seed,
        targets,
        first=options.first,
        processes=options.processes,
    )
    for index in sorted(tally.crashes):
        wrong = next(filter(None, (contained(index, options.seed, t) for t in targets)), "")
        if wrong:
            tally.failures[index] = wrong
    _keep(tally, options.seed, options.keep)
    _print(tally, options.count, time.perf_counter() - start)
    return 1 if tally.failures else 0


def _keep(tally: Tally, seed: int, folder: Path) -> None:
    bases = seeds()
    for index, wrong in (tally.crashes | tally.failures).items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{seed}-{index}.onnx").write_bytes(mutant(bases, seed, index)[1])
        (folder / f"{seed}-{index}.txt").write_text(f"{wrong}\n", encoding="utf-8")


def _print(tally: Tally, count: int, seconds: float) -> None:
    for (target, end), times in sorted(tally.ends.items()):
        print(f"{target:10} {end:24} {times:8,}")
    for index, wrong in sorted(tally.crashes.items()):
        print(f"native code died on mutant {index} ({wrong}); the command line contains it")
    for index, wrong in sorted(tally.failures.items()):
        print(f"FAILED on mutant {index}: {wrong}")
    print(
        f"{count:,} mutants in {seconds:.0f} s, the slowest {tally.slowest[0]:.1f} s "
        f"(mutant {tally.slowest[1]}); {len(tally.failures)} failures, "
        f"{len(tally.crashes)} native crashes."
    )


if __name__ == "__main__":
    sys.exit(main())
