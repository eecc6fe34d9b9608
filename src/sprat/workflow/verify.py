"""``verify``: one verdict over the checklist, for people and for CI."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from sprat.browser.types import LeanTry, Proof
from sprat.data.options import DataOptions
from sprat.errors import OptionError
from sprat.evaluate.constant import constant_answer
from sprat.evaluate.evaluate import Reference
from sprat.evaluate.types import Evaluation
from sprat.model.load import load, model_file
from sprat.model.wire import NETWORKS_MBPS, RUNTIME_BROTLI_BYTES, download_seconds
from sprat.progress import Progress, silent
from sprat.workflow.compare import Comparison, besides, compare_in
from sprat.workflow.compile import Trial, spread_feeds, tried
from sprat.workflow.confidence import browser_drop, doubt_of_browser, doubt_of_drop, doubt_of_speed
from sprat.workflow.measure import NO_VISITS
from sprat.workflow.plan import SAMPLES, Plan
from sprat.workflow.prove import prove
from sprat.workflow.setting import Split, open_setting

#: Samples that the lean runtime answers, too.
_LEAN_SAMPLES = 4


@dataclass(frozen=True)
class Check:
    """One line of the verdict.

    Attributes:
        name: What was checked.
        figure: What was measured, in words.
        bar: What it was held against, in words; empty where nothing was asked.
        holds: Whether the bar is held.
        doubt: Why that is not shown: the interval reaches beyond the bar. Empty where it does not.
    """

    name: str
    figure: str
    bar: str
    holds: bool
    doubt: str = ""


@dataclass(frozen=True)
class Verdict:
    """All that ``sprat verify`` says: the checks, and what they rest on."""

    checks: tuple[Check, ...]
    comparison: Comparison
    proof: Proof | None = None

    @property
    def holds(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)


def verify(
    model: Path,
    reference: Path,
    data: str | Path,
    *,
    max_drop: float = 1.0,
    max_bytes: int | None = None,
    max_time_ratio: float | None = None,
    max_browser_drop: float | None = None,
    max_first_prediction: tuple[float, float] | None = None,
    confident: bool = False,
    options: DataOptions | None = None,
    split: Split = "test",
    limit: int | None = None,
    progress: Progress = silent,
) -> Verdict:
    """Hold a model against the bars of the checklist.

    Args:
        model: The model's file, or a folder that ``optimize`` wrote.
        reference: The original's file.
        data: Folder, CSV, npz or ``package.module:function``.
        max_drop: Points that accuracy may fall.
        max_bytes: br-11 bytes that the model may have.
        max_time_ratio: Native time over the original's that it may take.
        max_browser_drop: Points that accuracy may fall in a real browser against the original:
            native's drop on all samples, and what the browser adds on those that it answers.
        max_first_prediction: Seconds to the first prediction of a first visit, and at how many
            Mbps. Either of these two starts a browser.
        confident: A bar is held only where the upper end of the figure's interval is, too.
        options: Preprocessing and output options; they go before ``sprat.toml``.
        split: ``test`` or ``val``.
        limit: At most so many samples of each split.
        progress: Told how far the work is.

    Returns:
        The verdict.

    Raises:
        InputError: A model, the data or an option is wrong, or a browser is needed and missing.
        BrowserError: The browser crashed, hung or does not start.
    """
    _check_bars(max_drop, max_bytes, max_time_ratio, max_browser_drop, max_first_prediction)
    setting = open_setting(reference, data, options, limit=limit, split=split, progress=progress)
    path = model_file(model)
    found = compare_in(setting, path, progress=progress)
    loaded = load(path)
    # How the data is read is known beside the original; beside the model it may be unknown.
    feeds = spread_feeds(setting.reference.dataset, loaded, _LEAN_SAMPLES)
    lean = tried(path, loaded, Trial(feeds), progress)
    e, speed = found.evaluation, found.speed
    doubts = {
        "accuracy": doubt_of_drop(e.drop, e.interval, e.samples, max_drop),
        "speed": doubt_of_speed(speed, max_time_ratio),
    }
    checks = accuracy_checks(setting.reference, e, max_drop)
    checks += _checks(found, max_bytes, max_time_ratio)
    checks = tuple(_doubted(check, doubts.get(check.name, ""), confident) for check in checks)
    checks += () if lean is None else (_lean_check(lean),)
    if max_browser_drop is None and max_first_prediction is None:
        return Verdict(checks, found)
    networks = () if max_first_prediction is None else (max_first_prediction[1],)
    proof = prove(
        model,
        reference=reference,
        data=data,
        options=options,
        plan=Plan(samples=limit or SAMPLES, networks=networks, threads=()),
        split=split,
        record=False,
        progress=progress,
    )
    checks += _browser_checks(e, proof, max_browser_drop, max_first_prediction, confident)
    return Verdict(checks, found, proof)


def _check_bars(
    max_drop: float,
    max_bytes: int | None,
    max_time_ratio: float | None,
    max_browser_drop: float | None,
    max_first_prediction: tuple[float, float] | None,
) -> None:
    """Refuse bars that nothing could hold, or that everything would."""
    for name, drop in (("--max-drop", max_drop), ("--max-browser-drop", max_browser_drop)):
        if drop is not None and not 0 <= drop <= 100:
            raise OptionError(f"must be 0 to 100 points, got {drop:g}.", where=name)
    for name, value in (
        ("--max-bytes", max_bytes),
        ("--max-time-ratio", max_time_ratio),
        *(("--max-first-prediction", part) for part in max_first_prediction or ()),
    ):
        if value is not None and not value > 0:
            raise OptionError(f"must be a number above 0, got {value:g}.", where=name)


def accuracy_checks(
    reference: Reference, evaluation: Evaluation, max_drop: float
) -> tuple[Check, ...]:
    """Hold a model's drop against the bar, and the bar against what a dead model would lose.

    Args:
        reference: The original's answers.
        evaluation: The model against it.
        max_drop: The bar in points.

    Returns:
        The check of the drop; where a model that ignores its input would hold the bar, another
        one that does not hold.
    """
    e, constant = evaluation, constant_answer(reference)
    check = Check(
        "accuracy",
        f"{e.metric} {e.model:.2%} of {e.samples} {e.split} samples, drop {e.drop:+.2f} "
        f"points (95 % {e.interval.low:+.2f} to {e.interval.high:+.2f}){besides(e)}",
        f"at most {max_drop:g} points",
        e.drop <= max_drop,
    )
    if constant is None or not constant.hides_in(max_drop):
        return (check,)
    figure = f"{constant} samples: they cannot tell a good model from a dead one"
    return (check, Check("measure", figure, f"more than {max_drop:g} points", False))


def _checks(
    found: Comparison, max_bytes: int | None, max_time_ratio: float | None
) -> tuple[Check, ...]:
    speed, size = found.speed, found.model_wire.brotli
    return (
        Check(
            "speed",
            f"{speed.ratio:.2f} of the original's native time "
            f"({speed.interval.low:.2f} to {speed.interval.high:.2f})",
            "" if max_time_ratio is None else f"at most {max_time_ratio:g}",
            max_time_ratio is None or speed.ratio <= max_time_ratio,
        ),
        Check(
            "size",
            f"{size:,} bytes br-11 ({found.model_wire.raw:,} raw), "
            f"original {found.reference_wire.brotli:,}",
            "smaller than the original" if max_bytes is None else f"at most {max_bytes:,} bytes",
            size < found.reference_wire.brotli if max_bytes is None else size <= max_bytes,
        ),
        Check("download", _downloads(size), "", True),
    )


def _downloads(size: int) -> str:
    times = (
        f"{download_seconds(size + RUNTIME_BROTLI_BYTES, mbps):.1f} s at {mbps:g} Mbps"
        for mbps in NETWORKS_MBPS
    )
    return f"{', '.join(times)}, with ONNX Runtime Web, in theory"


def _lean_check(lean: LeanTry) -> Check:
    """Say what the runtime of 70 KB makes of the model; nothing depends on it."""
    if lean.refused:
        return Check("lean runtime", f"cannot do it: {lean.refused}", "", True)
    times = ", ".join(
        f"{download_seconds(lean.wire, mbps):.1f} s at {mbps:g} Mbps" for mbps in NETWORKS_MBPS
    )
    figure = (
        f"answers as native does (largest difference {lean.largest:.1e}), the first "
        f"{lean.seconds:.2f} s after the download of {times}"
    )
    return Check("lean runtime", figure, "", True)


def _doubted(check: Check, doubt: str, confident: bool) -> Check:
    """Return a check with its doubt; who wants to be confident takes a doubt for a no."""
    return replace(check, doubt=doubt, holds=check.holds and not (confident and doubt))


def _browser_checks(
    native: Evaluation,
    proof: Proof,
    max_drop: float | None,
    first: tuple[float, float] | None,
    confident: bool,
) -> tuple[Check, ...]:
    loading = proof.loading
    figure = f"loads in {proof.browser}" if loading.loads else f"does not load: {loading.cause}"
    checks = [Check("browser", figure, "loads", loading.loads)]
    if max_drop is not None and proof.against_original is not None:
        checks.append(_browser_drop_check(native, proof, max_drop, confident))
    if first is not None and loading.loads:
        checks.append(_visit_check(proof, first[0]))
    return tuple(checks)


def _browser_drop_check(
    native: Evaluation, proof: Proof, max_drop: float, confident: bool
) -> Check:
    own = proof.against_native
    assert own is not None
    drop, interval = browser_drop(native, proof)
    figure = (
        f"drop {drop:+.2f} points (95 % {interval.low:+.2f} to {interval.high:+.2f}): native's "
        f"{native.drop:+.2f} on all {native.samples} {native.split} samples, and "
        f"{drop - native.drop:+.2f} on the {own.samples} that the browser answered"
        f"{'' if own.changed is None else f', {own.changed} of them differently'}"
    )
    check = Check("accuracy in it", figure, f"at most {max_drop:g} points", drop <= max_drop)
    return _doubted(check, doubt_of_browser(native, proof, max_drop), confident)


def _visit_check(proof: Proof, most: float) -> Check:
    name, bar = "first prediction", f"at most {most:g} s"
    visit = next((v for v in proof.visits if v.subject == "model"), None)
    if visit is None:  # no time is no proof, but what else was measured stands
        why = next((note for note in proof.notes if note.startswith(NO_VISITS)), NO_VISITS)
        return Check(name, why, bar, False)
    seconds = visit.predicted if visit.seconds is None else visit.seconds
    theory = ", in theory" if visit.seconds is None else ""
    return Check(name, f"{seconds:.2f} s at {visit.mbps:g} Mbps{theory}", bar, seconds <= most)
