"""One student of the fish teacher: taught within the hour, then made small and proved.

Usage:
    pip install -e '.[distill,web]'
    python -m benchmarks.student --model fish_doodle_classifier.onnx --data DOODLES --out WORK

``sprat distill``, then ``sprat optimize --reference`` the teacher, with ``--prove``: a Chromium is
needed, and a quiet machine. Killed, the same command goes on where it was. Writes
``benchmarks/results/student.md``, ``student.json`` with every epoch, and ``student.log``, what both
commands said. Each looks at the test split once, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from sprat.browser.types import Proof
from sprat.evaluate.types import Evaluation
from sprat.record.run import load_run
from sprat.record.schema import DistillationRecord, Run

RESULTS = Path(__file__).parent / "results"
#: Every so many epochs has a row.
_ROWS = 12


def done(command: list[str], out: Path, log: Path) -> Run:
    """Run one of Sprat's commands that writes ``out/run.json``, or find it done."""
    if not (out / "run.json").is_file():
        with log.open("a") as said:
            whole = [sys.executable, "-m", "sprat", *command, "--out", str(out)]
            ended = subprocess.run(whole, stdout=said, stderr=subprocess.STDOUT, check=False)
        if ended.returncode not in (0, 1):  # 1 is a verdict
            raise SystemExit(f"{' '.join(whole[1:4])} ended with {ended.returncode}: see {log}")
    return load_run(out / "run.json")


def taught(options: argparse.Namespace) -> Run:
    command = [
        *("distill", str(options.model), "--data", str(options.data)),
        *("--student", options.student, "--width", str(options.width)),
        *("--student-size", options.size, "--mirror", "--minutes", str(options.minutes)),
    ]
    return done(command, options.out / "student", options.out / "student.log")


def made_small(options: argparse.Namespace) -> Run:
    command = [
        *("optimize", str(options.out / "student" / "model.onnx"), "--prove"),
        *("--reference", str(options.model), "--data", str(options.data)),
        *("--max-drop", str(options.max_drop)),
    ]
    return done(command, options.out / "small", options.out / "student.log")


def curve(record: DistillationRecord) -> list[str]:
    """Return the training as a table."""
    every = max(1, len(record.curve) // _ROWS)
    shown = [e for e in record.curve if e.epoch % every == 0 or e.epoch in (1, record.best)]
    return [
        "| epoch | minutes | loss | soft | hard | rate | val | agreement |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {e.epoch}{' (kept)' if e.epoch == record.best else ''} "
            f"| {sum(x.seconds for x in record.curve[: e.epoch]) / 60:.1f} | {e.loss:.4f} "
            f"| {e.soft:.4f} | {e.hard:.4f} | {e.rate:.5f} | {e.score:.2%} | {e.agreement:.2%} |"
            for e in shown
        ),
    ]


def _row(name: str, size: int, e: Evaluation, ratio: float) -> str:
    return (
        f"| {name} | {size:,} | {e.model:.2%} | {e.drop:+.2f} ({e.interval.low:+.2f} to "
        f"{e.interval.high:+.2f}) | {e.agreement:.2%} | {ratio:.3f} |"
    )


def in_browser(proof: Proof) -> list[str]:
    """Return what the browser said."""
    native, timing = proof.against_native, proof.timings[0]
    assert native is not None and timing.ratio is not None and timing.interval is not None
    visits = [
        f"| {v.subject} | {v.mbps:g} | {v.bytes:,} | "
        f"{'' if v.seconds is None else f'{v.seconds:.2f} s'} | {v.predicted:.2f} s |"
        for v in proof.visits
    ]
    return [
        f"In {proof.browser} with {proof.runtime}: {native.samples} answers, "
        f"{100 * (1 - native.agreement):.2f} % other than native's; one run on {timing.threads} "
        f"thread takes {timing.ratio:.3f} of the teacher's time ({timing.interval.low:.3f} to "
        f"{timing.interval.high:.3f}), {timing.median:.1f} ms.",
        "",
        "| first visit | Mbps | bytes | first prediction | in theory |",
        "|---|---:|---:|---:|---:|",
        *visits,
    ]


def markdown(options: argparse.Namespace, student: Run, small: Run, date: str) -> str:
    lesson, last, final = student.distillation, student.choice.test, small.choice.test
    assert lesson is not None and last is not None and final is not None
    assert student.choice.speed is not None and small.choice.speed is not None
    minutes = sum(student.timings.values()) / 60
    teacher = student.model.wire
    lines = [
        f"# Fish: a {lesson.student} within the hour",
        "",
        f"`python -m benchmarks.student --width {options.width:g} --size {options.size} "
        f"--minutes {options.minutes:g} --max-drop {options.max_drop:g}`, {date}. {machine()}, "
        f"torch {student.versions['torch']}.",
        f"From scratch, {lesson.parameters:,} parameters, {len(lesson.curve)} epochs, "
        f"{minutes:.1f} minutes in all. Accuracy on {last.samples:,} test doodles; the teacher's "
        f"({teacher.raw / 1e6:.1f} MB) is {last.reference:.2%}. Time is the native ratio to the "
        "teacher's, one thread.",
        "",
        "| | br-11 bytes | test | drop, points (95 %) | agreement | time ratio |",
        "|---|---:|---:|---:|---:|---:|",
        _row("student", student.outputs[0].wire.brotli, last, student.choice.speed.ratio),
        _row(
            f"made small, {small.choice.candidate}",
            small.outputs[0].wire.brotli,
            final,
            small.choice.speed.ratio,
        ),
        "",
    ]
    lines += in_browser(small.proof) if small.proof else ["No browser was there."]
    return "\n".join([*lines, "", *curve(lesson)]) + "\n"


def figures(name: str, run: Run) -> dict[str, Any]:
    """Return what ``python -m benchmarks`` holds against the next run."""
    test, speed, proof = run.choice.test, run.choice.speed, run.proof
    assert test is not None and speed is not None
    found = {
        "name": name,
        "brotli": run.outputs[0].wire.brotli,
        "drop": test.drop,
        "agreement": test.agreement,
        "ratio": speed.ratio,
    }
    if proof is not None:
        visits = [
            {"name": f"{v.subject} at {v.mbps:g}", "seconds": v.seconds} for v in proof.visits
        ]
        found["browser"] = {"ratio": proof.timings[0].ratio, "visits": visits}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the student stays")
    parser.add_argument("--minutes", type=float, default=60.0, help="of the training")
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--width", type=float, default=0.75)
    parser.add_argument("--size", default="112x112")
    parser.add_argument("--max-drop", type=float, default=1.0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    student, small = taught(options), made_small(options)
    text = markdown(options, student, small, datetime.now(UTC).date().isoformat())
    RESULTS.mkdir(exist_ok=True)
    assert student.distillation is not None
    found = {
        "machine": machine(),
        "rows": [figures("student", student), figures("made small", small)],
        "distillation": student.distillation.model_dump(mode="json"),
    }
    (RESULTS / "student.json").write_text(json.dumps(found, indent=2))
    (RESULTS / "student.md").write_text(text)
    said = (options.out / "student.log").read_text()
    for path in (options.out, options.data, options.model.parent):
        said = said.replace(f"{path}/", "").replace(str(path), path.name)
    (RESULTS / "student.log").write_text(said)
    print(text)


if __name__ == "__main__":
    main()
