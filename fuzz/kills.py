"""``python -m fuzz.kills``: kill commands at random moments, go on by the same command, compare.

Each command runs once undisturbed. Then, in rounds, it is killed (SIGKILL, with all its children)
some times at seeded random moments, each time begun again by the same words, and at last let go to
its end. After each kill no file with a final name may be half, and at the end the bytes that the
command promises are those of the undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from sprat.sealed import read_sealed

_EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
#: How many times a command's own time a run may take before it counts as hanging.
_PATIENCE = 20
#: Seconds that ``tune`` may wait in vain for a dead worker's trial.
_WAIT = 60
#: Endings of entries of the work folder, which are sealed.
_SEALED = (".bin", ".json", ".npz", ".pt")


@dataclass(frozen=True)
class Job:
    """A command to kill.

    Attributes:
        words: Of the command; ``{out}`` is the folder of results.
        same: Names of results whose bytes must be those of an undisturbed run; all where empty.
    """

    words: str
    same: tuple[str, ...] = ()

    def command(self, out: Path) -> list[str]:
        """Return the words to run."""
        given = {"model": _EXAMPLE / "doodles.onnx", "data": _EXAMPLE / "data", "out": out}
        return [sys.executable, "-m", "sprat", *(w.format_map(given) for w in self.words.split())]


_STUDENT = "--limit 64 --epochs 3 --batch 32 --seed 1"
JOBS = {
    "optimize": Job(
        "optimize {model} --data {data} --out {out} --limit 60 --minutes 60", ("model.onnx",)
    ),
    "point": Job(
        "optimize {model} --data {data} --out {out} --limit 24 --minutes 0.0001", ("model.onnx",)
    ),
    "bundle": Job("bundle {model} --data {data} --out {out} --page"),
    "distill": Job(
        "distill {model} --data {data} --out {out} --width 0.25 " + _STUDENT,
        ("model.onnx", "sprat.toml"),
    ),
    "student": Job(
        "optimize {model} --data {data} --out {out} --student mobilenet_v3_small --width 0.25 "
        "--limit 64 --epochs 3 --max-drop 40 --minutes 60 --seed 1",
        ("model.onnx",),
    ),
    "tune": Job(
        "tune {model} --data {data} --out {out} --trials 3 --heartbeat 1 " + _STUDENT,
        ("model.onnx", "sprat.toml"),
    ),
}


@dataclass
class Outcome:
    """What became of the kills of one command.

    Attributes:
        kills: How many runs were killed before their end.
        rounds: How many went on to their end.
        wrong: What went wrong, in words.
        left: Temporary files and folders that kills left behind.
    """

    kills: int = 0
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)
    left: int = 0


def kill_often(job: Job, kills: int, each: int, seed: int) -> Outcome:
    """Kill a command many times.

    Args:
        job: The command.
        kills: How many in all.
        each: Kills before a round is let go to its end.
        seed: Of the moments.

    Returns:
        What became of it.

    Raises:
        RuntimeError: The undisturbed run failed.
    """
    found, moments = Outcome(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        whole = Path(place) / "whole" / "out"
        start = time.monotonic()
        if complaint := _to_its_end(job, whole, 600.0):
            raise RuntimeError(complaint)
        usual = time.monotonic() - start
        while found.kills < kills:
            out = Path(place) / f"round-{found.rounds}" / "out"
            _round(job, out, whole, min(each, kills - found.kills), usual, moments, found)
            found.left += sum(1 for path in out.parent.rglob(".*") if path.name != ".work")
            shutil.rmtree(out.parent)
    return found


def _round(
    job: Job,
    out: Path,
    whole: Path,
    kills: int,
    usual: float,
    moments: random.Random,
    found: Outcome,
) -> None:
    for _ in range(kills):
        if not _killed_after(job, out, moments.uniform(0.0, usual)):
            break  # it was at its end already
        found.kills += 1
        found.wrong += [f"after kill {found.kills}: {w}" for w in _halves(out, whole, job)]
    if complaint := _to_its_end(job, out, _PATIENCE * usual + _WAIT):
        found.wrong.append(f"round {found.rounds}: {complaint}")
    found.rounds += 1
    names = job.same or tuple(sorted(str(p.relative_to(whole)) for p in _files(whole)))
    found.wrong += [
        f"round {found.rounds}: {name} has other bytes than an undisturbed run's"
        for name in names
        if not (out / name).is_file() or (out / name).read_bytes() != (whole / name).read_bytes()
    ]


def _begun(job: Job, out: Path) -> subprocess.Popen[bytes]:
    out.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        job.command(out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "SPRAT_THREADS": "1"},
    )


def _to_its_end(job: Job, out: Path, longest: float) -> str:
    """Run a command to its end; return what it complains of, empty where it ended well."""
    with _begun(job, out) as process:
        try:
            _, complaint = process.communicate(timeout=longest)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"did not end within {longest:.0f} s"
    # Exit code 1 is a verdict: nothing held the budget.
    return "" if process.returncode in (0, 1) else complaint.decode(errors="replace")[-500:]


def _killed_after(job: Job, out: Path, seconds: float) -> bool:
    """Kill a command; return False where it ended before.

    Its child, which does the work, dies with it (``cli/contain.py``).
    """
    with _begun(job, out) as process:
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()  # ends when the last holder of the pipe is dead
            return True
    return False


def _files(out: Path) -> Iterator[Path]:
    """Yield files with final names."""
    for path in out.rglob("*") if out.is_dir() else ():
        parts = path.relative_to(out).parts
        if path.is_file() and not any(p.startswith(".") and p != ".work" for p in parts):
            yield path


def _halves(out: Path, whole: Path, job: Job) -> list[str]:
    """Say which files with final names are half."""
    wrong = []
    for path in _files(out):
        name = str(path.relative_to(out))
        try:
            if job.same and ".work" in path.parts and path.suffix in _SEALED:
                _entry(path)
            elif job.same:
                _READERS.get(path.suffix, _any)(path)
            elif path.read_bytes() != (whole / name).read_bytes():
                wrong.append(f"{name} is not what an undisturbed run writes")
        except Exception as error:  # whatever a reader says of half a file
            wrong.append(f"{name} is half: {error}")
    return wrong


def _entry(path: Path) -> None:
    if read_sealed(path) is None:
        raise ValueError("its seal is broken")


def _any(_path: Path) -> None:
    pass


def _html(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        raise ValueError("it has no end")


def _database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
    if verdict != "ok":
        raise ValueError(verdict)


def _model(path: Path) -> None:
    onnx.checker.check_model(onnx.load(path))


def _lines(path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line)


_READERS: dict[str, Callable[[Path], object]] = {
    ".onnx": _model,
    ".json": lambda path: json.loads(path.read_bytes()),
    ".jsonl": _lines,
    ".html": _html,
    ".toml": lambda path: tomllib.loads(path.read_text(encoding="utf-8")),
    ".db": _database,
}


def main() -> int:
    """Return 0 where every kill ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.kills", description=__doc__)
    parser.add_argument("--job", choices=list(JOBS), default="optimize")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--each", type=int, default=1, help="kills in one round")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = kill_often(JOBS[options.job], options.kills, options.each, options.seed)
    for wrong in found.wrong:
        print(f"FAILED {wrong}")
    print(
        f"{options.job}: {found.kills} kills in {found.rounds} rounds (seed {options.seed}), "
        f"{len(found.wrong)} failures; {found.left} temporary files were left."
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
