"""run.json: what is written comes back, what is not ours is refused, the schema is published."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import ValidationError

from sprat.errors import OptionError
from sprat.evaluate.types import Evaluation, Flip, Interval, OutputDistance, Speed
from sprat.model.inspect import Inspection
from sprat.model.wire import WireBytes
from sprat.record.run import dump_run, load_run, schema, schema_text
from sprat.record.schema import CandidateRecord, ChoiceRecord, DataRecord, FileRecord, Run

PUBLISHED = Path(__file__).resolve().parents[1] / "docs" / "run.schema.json"
counts = st.integers(0, 1 << 40)


def candidates(number: st.SearchStrategy[float]) -> st.SearchStrategy[CandidateRecord]:
    text = st.text(max_size=8)
    interval = st.builds(Interval, number, number)
    flip = st.builds(Flip, text, text, text, text, number, number)
    evaluation = st.builds(
        Evaluation,
        split=text,
        samples=counts,
        metric=text,
        reference=number,
        model=number,
        drop=number,
        interval=interval,
        agreement=number,
        error=st.builds(OutputDistance, number, number, number, number),
        flips=st.lists(flip, max_size=2).map(tuple),
    )
    return st.builds(
        CandidateRecord,
        name=text,
        method=text,
        options=st.dictionaries(text, st.none() | st.integers(-9, 9) | st.lists(text), max_size=2),
        outcome=st.sampled_from(("chosen", "within budget", "over budget", "not better", "failed")),
        note=text,
        wire=st.none() | st.builds(WireBytes, counts, counts, counts, st.booleans()),
        bits_per_weight=st.none() | number,
        evaluation=st.none() | evaluation,
        speed=st.none() | st.builds(Speed, number, interval, number, number, counts, counts),
        seconds=number,
    )


def run_of(*tried: CandidateRecord, drop: float = 0.5) -> Run:
    wire = WireBytes(1000, 900, 800)
    evaluation = Evaluation(
        split="val",
        samples=10,
        metric="accuracy",
        reference=0.9,
        model=0.9,
        drop=drop,
        interval=Interval(-1.0, 1.0),
        agreement=1.0,
        error=OutputDistance(0.0, 0.0, 999.0, 0.0),
    )
    return Run(
        sprat="0.1.0",
        versions={"python": "3.11"},
        machine="a machine",
        command="sprat optimize model.onnx",
        seed=0,
        options={},
        model=FileRecord(path="model.onnx", sha256="0" * 64, wire=wire),
        outputs=(FileRecord(path="model.onnx", sha256="1" * 64, wire=wire),),
        data=DataRecord(source="photos", kind="folder", splits=()),
        inspection=Inspection(
            path="model.onnx",
            file_bytes=1000,
            parameters=250,
            parameter_bytes=1000,
            opset=17,
            ir_version=8,
            producer="",
            architecture="CNN",
            inputs=(),
            outputs=(),
            operators={},
            dtypes={},
            layers=(),
            multiply_adds=0,
            waste=(),
            wire=wire,
            downloads=(),
            advice=(),
        ),
        candidates=tried,
        choice=ChoiceRecord(
            candidate="original", goal="small", max_drop=1.0, reason="", validation=evaluation
        ),
        timings={},
    )


def load_text(folder: Path, text: str | bytes) -> Run:
    path = folder / "run.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_run(path)


@settings(max_examples=50)
@given(st.lists(candidates(st.floats(allow_nan=False)), max_size=2))
def test_a_run_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, tried: list[CandidateRecord]
) -> None:
    run = run_of(*tried)
    text = dump_run(run)
    back = load_text(tmp_path_factory.getbasetemp(), text)
    assert back == run
    assert dump_run(back) == text


def test_figures_that_are_not_finite_come_back(tmp_path: Path) -> None:
    back = load_text(tmp_path, dump_run(run_of(drop=math.inf)))
    assert back.choice.validation.drop == math.inf
    back = load_text(tmp_path, dump_run(run_of(drop=math.nan)))
    assert math.isnan(back.choice.validation.drop)


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        run_of().seed = 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a run record"),
        ("<!doctype html><title>Not found</title>", "not a run record"),
        ("[]", "not a run record"),
        ("[" * 100_000, "not a run record"),
        (b"\xff\xfe\x00", "not a run record"),
        ('{"schema_version": 2}', "of version 2; version 1 is read"),
        ('{"schema_version": 1}', "sprat: Field required"),
    ],
)
def test_what_is_no_run_is_one_clear_error(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as caught:
        load_text(tmp_path, text)
    assert caught.value.where == str(tmp_path / "run.json")
    assert "sprat optimize" in caught.value.hint
    assert len(str(caught.value)) < 1000


def test_an_unknown_field_is_an_error(tmp_path: Path) -> None:
    content = json.loads(dump_run(run_of())) | {"surprise": 1}
    with pytest.raises(OptionError, match="surprise"):
        load_text(tmp_path, json.dumps(content))


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="No such file"):
        load_run(tmp_path / "run.json")


def test_a_file_too_large_for_a_record_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sprat.record.run._MOST_BYTES", 100)
    with pytest.raises(OptionError, match="more than 100 bytes"):
        load_text(tmp_path, dump_run(run_of()))


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(), (
        "write sprat.record.run.schema_text() to docs/run.schema.json"
    )


@settings(max_examples=25)
@given(st.lists(candidates(st.floats(allow_nan=False, allow_infinity=False)), max_size=2))
def test_what_is_written_fits_the_published_schema(tried: list[CandidateRecord]) -> None:
    content = json.loads(dump_run(run_of(*tried)), parse_constant=pytest.fail)
    assert [e.message for e in Draft202012Validator(schema()).iter_errors(content)] == []
