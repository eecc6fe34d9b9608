"""``python -m fuzz.folders``: give commands folders with files of the user's, and look for losses.

Each case is a folder, empty or with the results of an earlier run, into which seeded random things
of the user's were put, at names that collide with ours and at others: files, edited results, links,
folders, pipes. A command then writes there. The law: it ends with a result or one clear error, and
all that the user put there, or that links lead to, is as it was.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tests.models import balanced, images, one_logit_cnn

from sprat.errors import OutputError, SpratError
from sprat.model.load import save
from sprat.workflow.budget import Budget
from sprat.workflow.bundle import bundle
from sprat.workflow.optimize import optimize
from sprat.workflow.step import quantize_file, simplify_file

#: Names that no command writes, and some that a command writes at times.
_NAMES = (
    *("notes.txt", "CNAME", ".git/config", "preview.onnx", ".work/notes.txt", ".work/lock"),
    *(".work/crew", ".work/tuned", "assets/logo.svg", "model.onnx", "history.jsonl"),
)
_KINDS = ("file", "edited", "link", "dangling", "linked folder", "folder", "pipe", "twin")
_MINE = b"my own, and nobody else's\n"
#: Entries of the work folder are made again where they are damaged: nobody else's files.
_ENTRY = re.compile(r"\.work/[0-9a-f]{32}\.(bin|json)")
_MOST = 4


@dataclass
class Losses:
    """What became of the cases.

    Attributes:
        ends: How many ended how.
        wrong: What went wrong, in words.
    """

    ends: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def _optimize(own: Path, out: Path) -> None:
    optimize(own / "model.onnx", own / "data.npz", out, budget=Budget(minutes=0.0001))


def _bundle(own: Path, out: Path) -> None:
    bundle(own / "model.onnx", out, data=own / "data.npz", runtime="ort")


def _simplify(own: Path, out: Path) -> None:
    simplify_file(own / "model.onnx", out / "model.onnx")


def _quantize(own: Path, out: Path) -> None:
    quantize_file(own / "model.onnx", out / "model.onnx", "weights")


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "optimize": _optimize,
    "bundle": _bundle,
    "simplify": _simplify,
    "quantize": _quantize,
}


def look_for_losses(count: int, seed: int, writers: tuple[str, ...] = tuple(WRITERS)) -> Losses:
    """Try ``count`` cases.

    Args:
        count: How many.
        seed: Of what is put where.
        writers: Keys of :data:`WRITERS`, taken in turn.

    Returns:
        What became of them.
    """
    found = Losses()
    with tempfile.TemporaryDirectory(prefix="sprat-fuzz-") as name:
        place = Path(name)
        _own(place / "own")
        for writer in writers:
            WRITERS[writer](place / "own", place / f"after-{writer}")
        for index in range(count):
            writer = writers[index % len(writers)]
            _case(place, writer, random.Random(f"{seed} {index}"), found, f"case {index}")
    return found


def _own(folder: Path) -> None:
    folder.mkdir()
    save(balanced(one_logit_cnn(), images(24)), folder / "model.onnx")
    np.savez(folder / "data.npz", input=images(24))
    (folder / "thesis.txt").write_bytes(_MINE)
    (folder / "empty").write_bytes(b"")


def _case(place: Path, writer: str, chance: random.Random, found: Losses, name: str) -> None:
    out, own = place / "out", place / "own"
    if chance.random() < 0.7:
        shutil.copytree(place / f"after-{writer}", out, symlinks=True)
    else:
        out.mkdir()
    known = sorted(str(path.relative_to(out)) for path in out.rglob("*"))
    names = [n for n in (*_NAMES, *known) if not _ENTRY.fullmatch(n)]
    put = {n for n in chance.sample(names, chance.randint(0, _MOST)) if _put(out / n, own, chance)}
    before = {n: _content(out / n) for n in put if os.path.lexists(out / n)}
    originals = dict(_tree(own))
    try:
        WRITERS[writer](own, out)
        end = "result"
    except OutputError as error:
        end = "refused"
        if not put or str(out) not in str(error):
            found.wrong.append(f"{name}: {writer}: refused without a reason: {error}")
    except SpratError as error:
        end = type(error).__name__
        found.wrong.append(f"{name}: {writer}: {end}: {error}")
    except Exception as error:  # what this looks for
        end = "fault"
        found.wrong.append(f"{name}: {writer}: {type(error).__name__}: {error}")
    found.ends[f"{writer}: {end}"] += 1
    lost = [n for n, content in before.items() if not _is_kept(content, out / n)]
    lost += [n for n, content in originals.items() if _content(own / n) != content]
    found.wrong += [f"{name}: {writer} ({end}) lost {n}" for n in lost]
    shutil.rmtree(out)


def _put(path: Path, own: Path, chance: random.Random) -> bool:
    """Put something of the user's into a place; return whether that was possible."""
    kind = chance.choice(_KINDS)
    if kind == "edited" and (path.is_symlink() or not path.is_file()):
        kind = "file"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind != "edited" and os.path.lexists(path):
            is_folder = path.is_dir() and not path.is_symlink()
            shutil.rmtree(path) if is_folder else path.unlink()
        _make(kind, path, own)
    except OSError:  # a part of the way is a file, or there is nothing to edit
        return False
    return True


def _make(kind: str, path: Path, own: Path) -> None:
    if kind == "file":
        path.write_bytes(_MINE)
        path.chmod(0o444)
    elif kind == "edited":
        with path.open("ab") as file:
            file.write(_MINE)
    elif kind == "link":
        path.symlink_to(own / ("empty" if path.name == "lock" else "thesis.txt"))
    elif kind == "dangling":
        path.symlink_to(own / "nothing")
    elif kind == "linked folder":
        path.symlink_to(own)
    elif kind == "twin":
        os.link(own / "model.onnx", path)
    else:
        path.mkdir() if kind == "folder" else os.mkfifo(path)


def _is_kept(before: object, path: Path) -> bool:
    """Say whether a thing is as it was; a log of ours that the user wrote into may grow."""
    now = _content(path)
    if path.name == "history.jsonl" and isinstance(before, bytes) and isinstance(now, bytes):
        return now == before or (before.startswith(b'{"date":') and now.startswith(before))
    return now == before


def _tree(folder: Path) -> Iterator[tuple[str, object]]:
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder)), _content(path)
    yield "nothing", None


def _content(path: Path) -> object:
    """Return what is at a place: bytes, a link's target, or the kind of thing; None for nothing."""
    if not os.path.lexists(path):
        return None
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return path.readlink()
    return path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)


def main() -> int:
    """Return 0 where nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.folders", description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--writers", default=",".join(WRITERS), help="with commas between them")
    options = parser.parse_args()
    found = look_for_losses(options.count, options.seed, tuple(options.writers.split(",")))
    for end, times in sorted(found.ends.items()):
        print(f"{end:24} {times:8,}")
    for wrong in found.wrong:
        print(f"FAILED {wrong}")
    print(f"{options.count:,} folders (seed {options.seed}), {len(found.wrong)} failures.")
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
