"""A small student of the fish teacher: distilled against hard labels alone, over three seeds.

Usage:
    pip install -e '.[distill]'
    python -m benchmarks.distill --model fish_doodle_classifier.onnx --data DOODLES --out WORK

Six trainings of ``--minutes`` each, by ``sprat distill``: the same student, epochs, views and
seeds; only ``--alpha`` differs. The epochs are those that the first training finds to fit into its
minutes, so that all have the same budget. Killed, the same command goes on where it was. Writes
``benchmarks/results/distill.md``, ``distill.json``, and each training's log. The test split is
looked at once by each training, and nothing is chosen by it.

The last table is what the student's first nodes cost, which shrink the page's picture to its size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import machine
from sprat.data.options import DataOptions
from sprat.evaluate.evaluate import labels_of, score
from sprat.evaluate.interval import paired_interval
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import answers
from sprat.evaluate.speed import measure_speed
from sprat.model.inspect import tensor_infos
from sprat.model.load import load
from sprat.model.session import Feeds, Outputs
from sprat.record.run import load_run
from sprat.workflow.setting import open_setting

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)
#: Side of the picture that the page gives.
_PAGE = 224
ALPHAS = {"distilled": 0.9, "hard labels alone": 0.0}


def taught(options: argparse.Namespace, name: str, seed: int, epochs: int | None) -> Path:
    """Train one student, or find it trained; its log goes beside it."""
    out: Path = options.out / f"{name.replace(' ', '-')}-{seed}"
    if (out / "run.json").is_file():
        return out
    command = [
        *(sys.executable, "-m", "sprat", "distill", str(options.model)),
        *("--data", str(options.data), "--out", str(out), "--student", options.student),
        *("--width", str(options.width), "--student-size", options.size, *options.views),
        *("--alpha", str(ALPHAS[name]), "--seed", str(seed), "--max-drop", "100"),
    ]
    if epochs is None:
        command += ["--minutes", str(options.minutes)]
    else:  # the epochs bind; the time is a bound for a machine that has become slower
        command += ["--epochs", str(epochs), "--minutes", str(3 * options.minutes)]
    if options.limit:
        command += ["--limit", str(options.limit)]
    out.mkdir(parents=True, exist_ok=True)
    with (out / "training.log").open("a") as log:
        log.write(f"$ {' '.join(command[1:])}\n")
        log.flush()
        subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=True)
    print((out / "training.log").read_text().splitlines()[-6:], flush=True)
    return out


def row(name: str, seed: int, out: Path) -> dict[str, Any]:
    run = load_run(out / "run.json")
    taught, test = run.distillation, run.choice.test
    assert taught is not None and test is not None and run.choice.speed is not None
    return {
        "name": name,
        "seed": seed,
        "epochs": len(taught.curve),
        "ended": taught.ended,
        "best": taught.best,
        "minutes": sum(epoch.seconds for epoch in taught.curve) / 60,
        "parameters": taught.parameters,
        "brotli": run.outputs[0].wire.brotli,
        "val": run.choice.validation.model,
        "teacher": test.reference,
        "test": test.model,
        "samples": test.samples,
        "drop": test.drop,
        "low": test.interval.low,
        "high": test.interval.high,
        "agreement": test.agreement,
        "ratio": run.choice.speed.ratio,
        "curve": [epoch.score for epoch in taught.curve],
    }


def gains(options: argparse.Namespace, outs: dict[tuple[str, int], Path]) -> list[dict[str, Any]]:
    """Compare both students of each seed sample by sample, and all three seeds together."""
    setting = open_setting(
        options.model, options.data, DataOptions(), split="test", limit=options.limit
    )
    reference = setting.reference
    right: dict[str, list[Any]] = {name: [] for name in ALPHAS}
    assert labels_of(reference.dataset) is not None
    for name, seed in ((n, s) for n in ALPHAS for s in options.seeds):
        student = load(outs[name, seed] / "model.onnx")
        outputs = predict_all(student, reference.dataset, reference.size)
        said = answers(outputs, reference.reading)
        right[name].append(score(said, reference.answers, outputs, reference))
    hard, soft = (np.array(right[name]) for name in ("hard labels alone", "distilled"))
    found = []
    for i, seed in enumerate(options.seeds):
        interval = paired_interval(soft[i], hard[i])
        gain = 100 * float((soft[i] - hard[i]).mean())
        found.append({"seed": seed, "gain": gain, "low": interval.low, "high": interval.high})
    # Over all seeds: one score a sample, the mean over its students, so that samples are paired.
    together = paired_interval(soft.mean(0), hard.mean(0))
    gain = 100 * float((soft - hard).mean())
    found.append({"seed": "all", "gain": gain, "low": together.low, "high": together.high})
    return found


def head_cost(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time an untrained student with and without the nodes that shrink its picture."""
    import torch

    from sprat.distillation.configs import Student
    from sprat.distillation.contract import contract_of
    from sprat.distillation.export import export
    from sprat.distillation.frame import Whole, intake_of
    from sprat.distillation.students import build
    from sprat.evaluate.reading import Reading

    teacher = load(options.model)
    info = tensor_infos(teacher)[0]
    outputs: Outputs = {teacher.graph.output[0].name: np.zeros((1, 1), np.float32)}
    reading = Reading(teacher.graph.output[0].name, "logit")
    rows = []
    for side in (112, 128, 160):
        student = Student(options.student, options.width, (side, side))
        milliseconds = {}
        for what, given in (("with_ms", _PAGE), ("without_ms", side)):
            for i in (2, 3):
                teacher.graph.input[0].type.tensor_type.shape.dim[i].dim_value = given
            noise = np.random.default_rng(0).standard_normal((1, 3, given, given))
            feeds: Feeds = {info.name: noise.astype(np.float32)}
            contract = contract_of(teacher, reading, feeds, outputs, "nchw")
            torch.manual_seed(0)
            body, _ = build(student, 1, 3, (side, side))
            whole = Whole(contract, intake_of(contract, student, None), body).eval()
            model = export(whole, contract, feeds, 17)
            milliseconds[what] = measure_speed(model, model, feeds).model_ms
        rows.append({"side": side, **milliseconds})
    return rows


def student_rows(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of the students, a row each."""
    return [
        "| | seed | epochs | minutes | val | test | drop, points (95 %) | agreement | br-11 bytes "
        "| time ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {r['name']} | {r['seed']} | {r['epochs']} (best {r['best']}) | {r['minutes']:.1f} "
            f"| {r['val']:.2%} | {r['test']:.2%} | {r['drop']:+.2f} ({r['low']:+.2f} to "
            f"{r['high']:+.2f}) | {r['agreement']:.2%} | {r['brotli']:,} | {r['ratio']:.2f} |"
            for r in rows
        ),
    ]


def gained(found: list[dict[str, Any]]) -> list[str]:
    """Return the table of what distillation gains, a row a seed and one for all."""
    return [
        "What distillation gains over labels alone on test, paired by sample:",
        "",
        "| seed | gain, points | 95 % |",
        "|---|---:|---|",
        *(
            f"| {g['seed']} | {g['gain']:+.2f} | {g['low']:+.2f} to {g['high']:+.2f} |"
            for g in found
        ),
    ]


def markdown(found: dict[str, Any], options: argparse.Namespace, date: str) -> str:
    rows = found["rows"]
    lines = [
        f"# Fish: {options.student} at {options.size}, taught by a 44.7 MB ResNet-18",
        "",
        f"`python -m benchmarks.distill --minutes {options.minutes:g}`, {date}. {machine()}.",
        f"From scratch, {rows[0]['parameters']:,} parameters. Accuracy on {rows[0]['samples']:,} "
        f"test doodles; the teacher's is {rows[0]['teacher']:.2%}. Bytes are float32's, before any "
        "quantization; time is the native ratio to the teacher, one thread.",
        "",
        *student_rows(rows),
    ]
    lines += ["", *gained(found["gains"])]
    lines += [
        "",
        "The student with and without the nodes that shrink the page's 224 x 224 to its size, one "
        "run natively, one thread:",
        "",
        "| size | with, ms | without, ms |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {h['side']} | {h['with_ms']:.2f} | {h['without_ms']:.2f} |" for h in found["head"]
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the students stay")
    parser.add_argument("--minutes", type=float, default=8.0, help="of each training")
    parser.add_argument("--epochs", type=int, help="of each training, instead of as many as fit")
    parser.add_argument("--student", default="mobilenet_v3_small")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--size", default="112x112")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--limit", type=int, help="samples of each split, for a trial")
    parser.set_defaults(views=["--mirror"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    outs: dict[tuple[str, int], Path] = {}
    epochs = options.epochs
    for seed in options.seeds:
        for name in ALPHAS:
            out = taught(options, name, seed, epochs)
            outs[name, seed] = out
            record = load_run(out / "run.json").distillation
            assert record is not None
            epochs = epochs or record.planned
    found: dict[str, Any] = {
        "machine": machine(),
        "rows": [row(name, seed, outs[name, seed]) for name in ALPHAS for seed in options.seeds],
        "gains": gains(options, outs),
        "head": head_cost(options),
    }
    date = datetime.now(UTC).date().isoformat()
    text = markdown(found, options, date)
    RESULTS.mkdir(exist_ok=True)
    if options.limit is None:
        (RESULTS / "distill.json").write_text(json.dumps(found, indent=2))
        (RESULTS / "distill.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
