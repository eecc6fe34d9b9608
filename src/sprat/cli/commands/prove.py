"""``sprat prove``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sprat.cli.options import JsonOption, numbers, with_data_options
from sprat.cli.screen import as_json, bar, megabytes, note, say, table

if TYPE_CHECKING:
    from sprat.browser.types import Delivery, LeanTry, Proof, Timing, Visit
    from sprat.evaluate.types import Evaluation


@with_data_options
def command(
    model: Annotated[
        Path,
        typer.Argument(help="The model, or a folder that optimize wrote.", show_default=False),
    ],
    reference: Annotated[
        Path | None, typer.Option("--reference", help="The original, to compare with.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Samples, as for optimize; noise without."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="At most so many.")] = 256,
    networks: Annotated[
        str, typer.Option("--networks", help="Mbps of the visits; '' makes none.")
    ] = "50,10,1",
    split: Annotated[Literal["val", "test"], typer.Option("--split", help="test or val.")] = "test",
    browser: Annotated[
        Literal["chromium", "firefox", "webkit"],
        typer.Option("--browser", help="Which browser; only chromium makes the visits."),
    ] = "chromium",
    runtime: Annotated[
        Path | None,
        typer.Option("--runtime", help="'dist' of your own onnxruntime-web.", show_default=False),
    ] = None,
    webgpu: Annotated[
        bool, typer.Option("--webgpu", help="Compare answers on WebGPU; needs --runtime.")
    ] = False,
    site: Annotated[
        Path | None,
        typer.Option("--site", help="A bundle of it with --page: visit that too, twice."),
    ] = None,
    json: JsonOption = False,
    options: Any = None,
) -> None:
    """Prove a model in a real browser: loads, right, fast, heavy, on the network.

    Runs ONNX Runtime Web in a headless browser. With --data, in Chromium, and where the folder
    holds a run.json of optimize, the proof goes into it and into report.html. Exit code 1 if the
    browser does not load the model, 2 if something given is wrong or there is no browser, 3 if the
    browser crashed or hung.

    \b
    Examples:
      sprat prove small --reference model.onnx --data photos
      sprat prove model.onnx --networks ''
      sprat prove small --data photos --site site
      sprat prove small --data photos --browser firefox
      sprat prove model.onnx --webgpu --runtime node_modules/onnxruntime-web/dist
    """
    from sprat.workflow.plan import Plan
    from sprat.workflow.prove import prove

    plan = Plan(
        samples=samples,
        networks=tuple(numbers("networks", networks, float)),
        browser=browser,
        runtime=runtime,
        provider="webgpu" if webgpu else "wasm",
        site=site,
    )
    with bar(quiet=json) as progress:
        proof = prove(
            model,
            reference=reference,
            data=data,
            options=options,
            plan=plan,
            split=split,
            progress=progress,
        )
    if json:
        as_json(proof)
    else:
        show(proof)
    raise typer.Exit(0 if proof.loading.loads else 1)


def show(proof: Proof) -> None:
    """Print a proof."""
    for line in proof.notes:
        note(line)
    say(f"{proof.browser}, {proof.runtime}")
    loading = proof.loading
    if not loading.loads:
        say(f"Does NOT load: {loading.cause}.")
        say(f"The runtime says: {loading.error}")
        say(loading.hint)
        return
    table("", ["", "check", "figure"], [*_rightness(proof), *_weight(proof)])
    if proof.visits:
        table(
            "First visit, empty cache: seconds to the first prediction",
            [">Mbps", "model", ">bytes", ">seconds", ">in theory"],
            [_visit(v) for v in proof.visits],
        )
    if proof.deliveries:
        table(
            "The bundle's page: seconds to the first answer, and to the full model's",
            [">Mbps", "visit", ">bytes", ">first", ">full"],
            [_delivery(d) for d in proof.deliveries],
        )


def _rightness(proof: Proof) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("ok", "loads", f"session in {proof.loading.milliseconds:.0f} ms")
    ]
    for name, found in (
        ("against itself, native", proof.against_native),
        ("against the original", proof.against_original),
    ):
        if found is not None:
            rows.append(("", name, _evaluation(found)))
    if proof.difference is not None:
        figure = f"largest output difference on noise {proof.difference:.3g}"
        rows.append(("", "against itself, native", figure))
    if proof.seen is not None:
        s = proof.seen
        rows.append(
            (
                "",
                "the page's own preprocessing",
                f"{s.exact:.1%} of {s.samples} images bit for bit as Pillow's, largest difference "
                f"{s.largest:.3g}, {s.flips} answers change",
            )
        )
    return rows


def _evaluation(e: Evaluation) -> str:
    flips = "" if e.changed is None else f"{e.changed} flips, "
    return (
        f"{e.metric} {e.reference:.2%} -> {e.model:.2%} of {e.samples} {e.split} samples, drop "
        f"{e.drop:+.2f} points (95 % {e.interval.low:+.2f} to {e.interval.high:+.2f}), "
        f"{flips}largest output difference {e.error.max_abs:.3g}"
    )


def _weight(proof: Proof) -> list[tuple[str, ...]]:
    rows = [("", f"speed, {_threads(t)}", _timing(t)) for t in proof.timings]
    if proof.heap is not None:
        peak = f"{megabytes(proof.loading.heap)} after load, {megabytes(proof.heap)} at peak"
        before = proof.original_heap
        peak += "" if before is None else f", original {megabytes(before)}"
        rows.append(("", "WebAssembly heap", peak))
    if proof.lean is not None:
        rows.append(("", "in the lean runtime", _lean(proof.lean)))
    missing = [o for o in proof.operators if o.error]
    names = ", ".join(f"{o.operator} ({', '.join(o.types)})" for o in missing)
    figure = f"{len(proof.operators)} kinds of node, each loads alone"
    if missing:
        figure = f"missing: {names}"
    return [*rows, ("MISSED" if missing else "ok", "operators", figure)]


def _lean(lean: LeanTry) -> str:
    if lean.refused:
        return f"cannot be done: {lean.refused}"
    return (
        f"{lean.samples} answers as native's (largest difference {lean.largest:.1e}), the first "
        f"after {lean.seconds:.2f} s, {megabytes(lean.wire)} with the runtime, "
        f"{megabytes(lean.heap)} of memory"
    )


def _threads(t: Timing) -> str:
    return f"{t.threads} thread{'s' if t.threads > 1 else ''}"


def _timing(t: Timing) -> str:
    ratio = ""
    if t.ratio is not None and t.interval is not None:
        ratio = f"{t.ratio:.2f} of the original's ({t.interval.low:.2f} to {t.interval.high:.2f}), "
    return f"{ratio}first {t.first:.1f} ms, then {t.median:.1f} ms (p95 {t.p95:.1f})"


def _visit(v: Visit) -> tuple[str, ...]:
    seconds = "" if v.seconds is None else f"{v.seconds:.2f}"
    return (f"{v.mbps:g}", v.subject, f"{v.bytes:,}", seconds, f"{v.predicted:.2f}")


def _delivery(d: Delivery) -> tuple[str, ...]:
    return (f"{d.mbps:g}", d.visit, f"{d.bytes:,}", f"{d.seconds:.2f}", f"{d.full:.2f}")
