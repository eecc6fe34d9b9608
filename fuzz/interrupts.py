"""``python -m fuzz.interrupts``: Ctrl-C at random moments, on a terminal of its own.

Each command is started on a pseudo terminal and interrupted at seeded random moments, as a user
does: the terminal sends SIGINT to what runs in its foreground. It has to end within five seconds
with exit code 130, without a traceback, and leave nothing: no process, no temporary file.
"""

from __future__ import annotations

import argparse
import os
import pty
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sprat.cli.processes import descendants

_EXAMPLE = Path(__file__).parents[1] / "examples/doodles"
#: Seconds from Ctrl-C to the end that a user is promised.
LIMIT = 5.0
#: Seconds for a command to start, on a busy machine.
_START = 60.0
_TICK = 0.01
#: Environment variable that marks all processes of one command.
_MARK = "SPRAT_FUZZ_MARK"
#: What nobody wants to read after Ctrl-C.
_NOISE = ("Traceback", "Task was destroyed", "Exception ignored", "never retrieved", "leaked")
#: Hidden files that are results.
_OURS = (".work", ".sprat.json", ".nojekyll")
_STUDENT = "--limit 64 --epochs 40 --batch 32 --width 0.25"


@dataclass(frozen=True)
class Job:
    """A command to interrupt.

    Attributes:
        words: Of the command. ``{out}`` is empty, ``{small}`` a result of optimize, ``{site}`` its
            bundle.
        span: Seconds in which it is interrupted.
    """

    words: str
    span: float = 8.0


JOBS = {
    "inspect": Job("inspect {model} --exact", 1.0),
    "simplify": Job("simplify {model} -o {out}/model.onnx", 4.0),
    "quantize": Job(
        "quantize {model} --method rate-distortion --data {data} --limit 60 --bits-per-weight 3 "
        "-o {out}/model.onnx"
    ),
    "compare": Job("compare {model} {small}/model.onnx --data {data}", 3.0),
    "optimize": Job(
        "optimize {model} --data {data} --out {out} --limit 60 --minutes 60 --workers local:2"
    ),
    "distill": Job("distill {model} --data {data} --out {out} " + _STUDENT),
    "tune": Job("tune {model} --data {data} --out {out} --trials 9 --workers 2 " + _STUDENT),
    "prove": Job("prove {small} --reference {model} --data {data} --samples 64"),
    "try": Job("try {small} --reference {model} --data {data} --no-open", 6.0),
    "compile": Job("compile {model} --data {data} -o {out}", 4.0),
    "bundle": Job("bundle {model} --data {data} --out {out}/site --page", 4.0),
    "serve": Job("serve {site} --no-open", 2.0),
    "verify": Job("verify {small} --reference {model} --data {data} --max-browser-drop 50"),
    "history": Job("history {small}", 0.2),
}


@dataclass(frozen=True)
class Ground:
    """What the commands work on: made once.

    Attributes:
        folder: Where it lies.
    """

    folder: Path

    def command(self, name: str, out: Path) -> list[str]:
        """Return the words to run."""
        places = {
            "model": _EXAMPLE / "doodles.onnx",
            "data": _EXAMPLE / "data",
            "small": self.folder / "small",
            "site": self.folder / "site",
            "out": out,
        }
        words = (word.format_map(places) for word in JOBS[name].words.split())
        return [sys.executable, "-m", "sprat", *words]


def prepare(folder: Path) -> Ground:
    """Make a small model and its bundle.

    Raises:
        CalledProcessError: A command failed.
    """
    model, data, small = _EXAMPLE / "doodles.onnx", _EXAMPLE / "data", folder / "small"
    short = ("--limit", "24", "--minutes", "0.0001", "--max-drop", "90")
    for words in (
        ("optimize", model, "--data", data, "--out", small, *short),
        ("bundle", small, "--out", folder / "site", "--page", "--runtime", "ort"),
    ):
        command = [sys.executable, "-m", "sprat", *map(str, words)]
        subprocess.run(command, check=True, capture_output=True)
    return Ground(folder)


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        moment: Seconds from its start to Ctrl-C.
        seconds: From Ctrl-C to its end.
        early: It was over before.
        wrong: What is not as it should be.
    """

    moment: float
    seconds: float = 0.0
    early: bool = False
    wrong: tuple[str, ...] = ()


def interrupt(ground: Ground, name: str, moment: float, *, twice: bool = False) -> Ending:
    """Start a command on a terminal of its own and interrupt it.

    Args:
        ground: From :func:`prepare`.
        name: Of a command.
        moment: Seconds after its start.
        twice: Press Ctrl-C a second time, half a second later.

    Returns:
        How it ended; early where it was over before the moment.
    """
    with tempfile.TemporaryDirectory(prefix="int-") as place:
        out, scratch, mark = Path(place, "out"), Path(place, "tmp"), uuid4().hex
        out.mkdir()
        scratch.mkdir()
        terminal = _Terminal(
            ground.command(name, out), {_MARK: mark, "TMPDIR": str(scratch)}, ground.folder
        )
        try:
            if not terminal.runs_for(moment):
                return Ending(moment, early=True)
            family = {p: _born(p) for p in descendants(terminal.process.pid)}
            start = time.monotonic()
            terminal.press(b"\x03")
            if twice and terminal.runs_for(0.5):
                terminal.press(b"\x03")
            terminal.wait(3 * LIMIT)
            took = time.monotonic() - start
        finally:
            said = terminal.close()
        wrong = [
            *_ended_badly(terminal.process.returncode, took, said),
            *_left_processes(family, mark),
            *(f"left {p.relative_to(place)}" for p in _left_files(scratch, out)),
        ]
        return Ending(moment, took, wrong=tuple(wrong))


class _Terminal:
    """A command with a pseudo terminal that it is the foreground of."""

    def __init__(self, command: list[str], variables: dict[str, str], folder: Path) -> None:
        self._master, slave = pty.openpty()
        self._said: list[bytes] = []
        # The first terminal that the leader of a new session opens is its own.
        opened = ["sh", "-c", 'exec "$@" <>"$0" >&0 2>&0', os.ttyname(slave)]
        self.process = subprocess.Popen(
            [*opened, *command],
            env={**os.environ, "TERM": "xterm-256color", **variables},
            cwd=folder,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        end = time.monotonic() + _START
        while self.process.poll() is None and not descendants(self.process.pid):
            if time.monotonic() > end:
                raise TimeoutError("the command does not start")
            time.sleep(_TICK)
        os.close(slave)

    def _read(self) -> None:
        with suppress(OSError):  # Linux's way to say that nobody has the terminal any more
            while said := os.read(self._master, 1 << 16):
                self._said.append(said)

    def runs_for(self, seconds: float) -> bool:
        """Wait; return whether it still runs then."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is None

    def wait(self, seconds: float) -> None:
        """Wait for its end, so long at most."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def press(self, keys: bytes) -> None:
        """Send keys."""
        os.write(self._master, keys)

    def close(self) -> str:
        """End what still runs, and return what stood on the screen."""
        if self.process.poll() is None:
            for process in (*descendants(self.process.pid), self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            self.process.wait()
        self._reader.join(LIMIT)
        os.close(self._master)
        return b"".join(self._said).decode(errors="replace")


def _ended_badly(code: int, seconds: float, said: str) -> list[str]:
    wrong = [f"prints {noise!r}: {said[-2000:]}" for noise in _NOISE if noise in said]
    if code != 130:
        wrong.append(f"ended with {code}: {said[-500:]}")
    if seconds > LIMIT:
        wrong.append(f"took {seconds:.1f} s")
    if said.rfind("\x1b[?25l") > said.rfind("\x1b[?25h"):
        wrong.append("hides the cursor")
    return wrong


def _born(process: int) -> str:
    """Return when a process began: its ID may be another's later."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _left_processes(family: dict[int, str], mark: str) -> list[str]:
    """Say which processes live on: known ones, and those with the mark in their environment."""
    left = {process for process, born in family.items() if born and _born(process) == born}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes():
                    left.add(int(entry.name))
    return [f"left process {p}: {_words(p)}" for p in sorted(left)]


def _words(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")[:200]
    return "gone"


def _left_files(scratch: Path, out: Path) -> list[Path]:
    """Return temporary files, and files under other than their final names."""
    hidden = (p for p in out.rglob("*") if p.name.startswith(".") or p.suffix == ".part")
    return [*scratch.iterdir(), *(p for p in hidden if p.name not in _OURS)]


def moments(count: int, seed: int, names: list[str]) -> list[tuple[str, float]]:
    """Return so many commands with a moment each: every command in turn, the moments at random."""
    chance = random.Random(seed)
    chosen = [names[i % len(names)] for i in range(count)]
    return [(name, chance.uniform(0, JOBS[name].span)) for name in chosen]


def interrupt_in_time(ground: Ground, name: str, moment: float) -> Ending:
    """Interrupt a command; where it is over before, sooner."""
    while True:
        ending = interrupt(ground, name, moment)
        if not ending.early:
            return ending
        moment /= 2


def main() -> int:
    """Return 0 where every command ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.interrupts", description=__doc__)
    parser.add_argument("--job", choices=list(JOBS), action="append")
    parser.add_argument("--each", type=int, default=20, help="interruptions of each command")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names, failures = options.job or list(JOBS), 0
    with tempfile.TemporaryDirectory(prefix="sprat-interrupts-") as folder:
        ground = prepare(Path(folder))
        for name in names:
            told = moments(options.each, options.seed, [name])
            endings = [interrupt_in_time(ground, name, moment) for _, moment in told]
            for ending in endings:
                for wrong in ending.wrong:
                    failures += 1
                    print(f"FAILED {name} after {ending.moment:.2f} s: {wrong}", flush=True)
            slowest = max(ending.seconds for ending in endings)
            print(f"{name}: {len(endings)} interruptions, at most {slowest:.2f} s", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
