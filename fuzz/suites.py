"""Other people's test suites: each of their models through our commands, the answers compared.

``python -m fuzz.suites`` takes the backend tests of the installed ``onnx`` package, 2,000 models of
one node or a few, each with inputs. ``--folder`` takes all models in a folder instead; those run on
seeded noise. Nothing of the suites is copied: they are read where they are installed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from fuzz.targets import end_of
from sprat.graph.proof import gap, noise
from sprat.model import session
from sprat.model.inspect import inspect, tensor_infos
from sprat.quantization.configs import METHODS
from sprat.workflow.step import quantize_file, simplify_file

#: The kinds of cases that ``onnx`` carries whole; others would be downloaded.
KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
#: Seconds for one model and all commands.
LONGEST = 120.0
#: Methods that need no data; the others are given noise, for what they do to the graph.
_WITHOUT_DATA = ("weights", "dynamic", "float16")
_ROWS = 12


@dataclass(frozen=True)
class Case:
    """One model of a suite.

    Attributes:
        name: Where it comes from.
        model: The model's bytes, or its file.
        inputs: The inputs of each of its data sets, in the order of the graph's inputs.
    """

    name: str
    model: bytes | Path
    inputs: tuple[tuple[Any, ...], ...] = ()


@dataclass
class Outcome:
    """How the cases ended.

    Attributes:
        ends: By command and end: how many.
        failures: Case and command to what went wrong.
        seconds: Of the slowest case, and its name.
    """

    ends: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)
    seconds: tuple[float, str] = (0.0, "")

    def add(self, name: str, found: dict[str, str], seconds: float) -> None:
        """Count one case."""
        for command, end in found.items():
            self.ends[command, end.partition(":")[0]] += 1
            if end.startswith("FAILED"):
                self.failures[f"{name} {command}"] = end
        self.seconds = max(self.seconds, (seconds, name))


def backend_cases(kinds: Sequence[str] = KINDS) -> list[Case]:
    """Return the backend tests of the installed ``onnx`` package."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some expected outputs overflow on purpose
        found = [case for kind in kinds for case in load_model_tests(kind=kind)]
    return [_case(test) for test in found]


def folder_cases(folder: Path) -> list[Case]:
    """Return a case for each model in a folder and below."""
    return [Case(str(path.relative_to(folder)), path) for path in sorted(folder.rglob("*.onnx"))]


def _case(test: Any) -> Case:
    if test.model is not None:
        sets = tuple(tuple(inputs) for inputs, _ in test.data_sets)
        return Case(test.name, test.model.SerializeToString(), sets)
    folder = Path(test.model_dir)
    model = onnx.load(folder / "model.onnx")
    sets = tuple(
        tuple(
            _tensor(data / f"input_{i}.pb", value)
            for i, value in enumerate(model.graph.input)
            if (data / f"input_{i}.pb").is_file()
        )
        for data in sorted(folder.glob("test_data_set_*"))
    )
    return Case(test.name, folder / "model.onnx", sets)


def _tensor(path: Path, value: onnx.ValueInfoProto) -> Any:
    content = path.read_bytes()
    if value.type.WhichOneof("value") == "sequence_type":
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(content))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(content))


def run_cases(cases: Sequence[Case], commands: Sequence[str]) -> Outcome:
    """Give each case to each command, in a process that may die or hang.

    Args:
        cases: The cases.
        commands: Keys of :data:`COMMANDS`.

    Returns:
        How they ended.
    """
    outcome, left = Outcome(), list(cases)
    context = multiprocessing.get_context("fork")
    while left:
        pipe, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(theirs, left, commands), daemon=True)
        process.start()
        theirs.close()
        while left:
            name, end = left[0].name, ""
            try:
                if pipe.poll(LONGEST):
                    outcome.add(name, *pipe.recv())
                else:
                    end = f"FAILED: no end in {LONGEST:g} s"
            except EOFError:
                process.join()
                end = f"FAILED: native code died ({process.exitcode})"
            left.pop(0)
            if end:
                outcome.add(name, {"process": end}, 0.0)
                break
        process.kill()
        process.join()
    return outcome


def _work(pipe: Connection, cases: Sequence[Case], commands: Sequence[str]) -> None:
    ort.set_default_logger_severity(4)
    session.LONGEST_RUN = 20.0
    for case in cases:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="sprat-suites-") as folder:
            found = dict(_attempt(case, commands, Path(folder)))
        pipe.send((found, time.perf_counter() - start))


def _attempt(case: Case, commands: Sequence[str], folder: Path) -> Iterator[tuple[str, str]]:
    path = folder / "in" / "model.onnx"
    path.parent.mkdir()
    if isinstance(case.model, Path):
        path = case.model
    else:
        path.write_bytes(case.model)
    for command in commands:
        out = folder / f"{command}.onnx"
        end = end_of(partial(COMMANDS[command], case), path, out)
        if end == "result" and out.is_file():
            try:
                end = _judged(case, path, out, exact=command == "simplify") or end
            except Exception as error:  # what the suite looks for
                end = f"FAILED: {type(error).__name__}: {str(error)[:300]}"
        yield command, end


def _judged(case: Case, path: Path, out: Path, *, exact: bool) -> str:
    """Say what is wrong with a file that a command wrote; empty where nothing is."""
    made = onnx.load(out)
    try:
        onnx.checker.check_model(made, full_check=True)
    except Exception as error:
        before = ""
        try:
            onnx.checker.check_model(onnx.load(path), full_check=True)
        except Exception as own:
            before = str(own)
        if not before:
            return f"FAILED: onnx.checker refuses it: {str(error)[:200]}"
    theirs, ours = _open(path), _open(out)
    if _face(theirs) != _face(ours):
        return "FAILED: inputs or outputs changed"
    for feeds in _feeds(case, path):
        wanted = _run(theirs, feeds)
        if wanted is None or not _steady(theirs, feeds, wanted):
            continue
        got = _run(ours, feeds)
        if got is None:
            return "FAILED: it does not run on the suite's data"
        for name, a, b in zip((o.name for o in theirs.get_outputs()), wanted, got, strict=True):
            if exact:
                off, allowed = gap(a, b)
                if off > allowed:
                    return f"FAILED: output {name} differs by {off:.3g} of {allowed:.3g}"
            elif _spoilt(a, b):
                return f"FAILED: output {name} is no number any more"
    return ""


def _open(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _run(opened: ort.InferenceSession, feeds: dict[str, Any]) -> list[Any] | None:
    try:
        return list(opened.run(None, feeds))
    except Exception:
        return None


def _steady(opened: ort.InferenceSession, feeds: dict[str, Any], first: list[Any]) -> bool:
    """Say whether a model answers the same twice: one that draws numbers does not."""
    again = _run(opened, feeds)
    return again is not None and all(gap(a, b)[0] == 0 for a, b in zip(first, again, strict=True))


def _spoilt(wanted: Any, got: Any) -> bool:
    if not isinstance(wanted, np.ndarray) or wanted.dtype.kind != "f":
        return False
    return got.shape != wanted.shape or bool((np.isfinite(wanted) & np.isnan(got)).any())


def _face(opened: ort.InferenceSession) -> list[tuple[str, str]]:
    return [(v.name, v.type) for v in (*opened.get_inputs(), *opened.get_outputs())]


def _feeds(case: Case, path: Path) -> Iterator[dict[str, Any]]:
    names = [v.name for v in onnx.load(path, load_external_data=False).graph.input]
    for inputs in case.inputs:
        yield {name: v for name, v in zip(names, inputs, strict=False) if v is not None}
    if not case.inputs:
        yield dict(noise(tensor_infos(onnx.load(path)), 8, seed=1))


def _data(path: Path, case: Case) -> Path:
    """Write data that fits a model: rows of its case's first inputs, or noise."""
    infos = tensor_infos(onnx.load(path))
    sizes = {info.name: info for info in infos}
    rows = {}
    for name, values in next(_feeds(case, path)).items():
        array = np.asarray(None if isinstance(values, list) else values)
        if name in sizes and array.ndim and array.dtype.kind in "fiub":
            rows[name] = np.concatenate([array] * _ROWS)[:_ROWS]
    target = path.parent if not isinstance(case.model, Path) else Path(tempfile.mkdtemp())
    np.savez(target / "data.npz", allow_pickle=False, **rows)
    return target / "data.npz"


def _inspect(_case: Case, path: Path, _out: Path) -> None:
    inspect(path)


def _simplify(_case: Case, path: Path, out: Path) -> None:
    simplify_file(path, out)


def _quantize(method: str) -> Callable[[Case, Path, Path], None]:
    def run(case: Case, path: Path, out: Path) -> None:
        data = None if method in _WITHOUT_DATA else _data(path, case)
        target = None
        if method == "rate-distortion":
            from sprat.workflow.aim import Target

            target = Target(bits_per_weight=3.0)
        quantize_file(path, out, method, data=data, target=target)

    return run


#: What a case is given to, by the name of the command or of quantize's method.
COMMANDS: dict[str, Callable[[Case, Path, Path], None]] = {
    "inspect": _inspect,
    "simplify": _simplify,
    **{method: _quantize(method) for method in METHODS},
}


def main() -> int:
    """Return 0 where every case ended well."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.suites", description=__doc__)
    parser.add_argument("--folder", type=Path, help="models; the backend tests of onnx by default")
    parser.add_argument("--commands", default="inspect,simplify", help=", ".join(COMMANDS))
    parser.add_argument("--every", type=int, default=1, help="take one case of so many")
    parser.add_argument("--first", type=int, default=0, help="index of the first")
    parser.add_argument("--only", default="", help="a part of the cases' names")
    options = parser.parse_args()
    cases = backend_cases() if options.folder is None else folder_cases(options.folder)
    cases = [case for case in cases if options.only in case.name]
    chosen = cases[options.first :: options.every]
    start = time.perf_counter()
    outcome = run_cases(chosen, options.commands.split(","))
    for (command, end), times in sorted(outcome.ends.items()):
        print(f"{command:16} {end:24} {times:6,}")
    for name, wrong in outcome.failures.items():
        print(f"FAILED {name}: {wrong}")
    seconds, slowest = outcome.seconds
    print(
        f"{len(chosen):,} models in {time.perf_counter() - start:.0f} s, the slowest {seconds:.1f} "
        f"s ({slowest}); {len(outcome.failures)} failures."
    )
    return 1 if outcome.failures else 0


if __name__ == "__main__":
    sys.exit(main())
