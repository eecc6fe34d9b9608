"""``run.json``: the record of one ``sprat optimize``, ``distill`` or ``tune``, as pydantic models.

The JSON Schema made from :class:`Run` is published as ``docs/run.schema.json``.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from sprat.browser.types import Proof
from sprat.evaluate.types import Evaluation, Speed
from sprat.model.inspect import Inspection
from sprat.model.wire import WireBytes

Outcome = Literal["chosen", "within budget", "over budget", "not better", "not tried", "failed"]
#: What a candidate is made of.
Source = Literal["original", "student"]


class _Record(BaseModel):
    # A figure that is not finite is written as the string that reads back as the same figure.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class FileRecord(_Record):
    """A file that went in or came out."""

    path: str = Field(description="File name, relative to the output folder for outputs.")
    sha256: str
    wire: WireBytes


class SplitRecord(_Record):
    """One set of samples."""

    name: str
    samples: int
    digest: str = Field(description="SHA-256 over the samples' contents and labels.")
    role: str = Field(description="calibration, choice, or the one last look")


class DataRecord(_Record):
    """The data, and how it was read."""

    source: str
    kind: str = Field(description="folder, csv, npz or callable")
    classes: tuple[str, ...] = ()
    reading: ReadingRecord | None = None
    preprocess: dict[str, JsonValue] = Field(default_factory=dict)
    splits: tuple[SplitRecord, ...]
    notes: tuple[str, ...] = Field(default=(), description="Guesses that were made, said aloud.")


class ReadingRecord(_Record):
    """How the primary output becomes an answer."""

    output: str
    kind: str = Field(description="logit, classes, sequence, integers or vector")
    probability: bool = False
    threshold: float = 0.0


class CandidateRecord(_Record):
    """One model that was tried."""

    name: str = Field(description="Short and unique in the run, such as 'static-minmax'.")
    method: str = Field(
        description="float32, float16, dynamic, static, weights, rate-distortion, distill, tune"
    )
    options: dict[str, JsonValue] = Field(default_factory=dict)
    source: Source = Field(
        default="original", description="What it is made of: the run's model, or its student."
    )
    outcome: Outcome
    note: str = Field(default="", description="Why it failed, or what was repaired.")
    sha256: str = ""
    wire: WireBytes | None = None
    bits_per_weight: float | None = Field(default=None, description="8 * br-11 bytes / weights.")
    evaluation: Evaluation | None = Field(default=None, description="On the choice split.")
    speed: Speed | None = None
    seconds: float = Field(default=0.0, description="Wall time to make and measure it.")


class ChoiceRecord(_Record):
    """The model that was chosen, and why."""

    candidate: str
    goal: Literal["small", "fast"]
    max_drop: float = Field(description="The budget, in points.")
    reason: str
    validation: Evaluation
    test: Evaluation | None = Field(default=None, description="The one look at the test split.")
    speed: Speed | None = None


class LayerRecord(_Record):
    """Bits and sensitivity of one weight in the chosen model (where the method knows them)."""

    name: str
    weights: int
    bits_per_weight: float
    sensitivity: float = Field(description="Final divergence that quantizing it alone costs.")


class EpochRecord(_Record):
    """One epoch of a student's training."""

    epoch: int = Field(description="From 1.")
    loss: float = Field(description="Mean over the epoch's steps, as trained.")
    soft: float = Field(description="Of that, against the teacher's answers.")
    hard: float = Field(description="Of that, against the labels; 0 without.")
    rate: float = Field(description="Learning rate at its end.")
    score: float = Field(description="The metric on val, 0 to 1, of the averaged weights.")
    agreement: float = Field(description="Share of val answered as the teacher does.")
    divergence: float = Field(description="Mean divergence from the teacher on val.")
    seconds: float


class DistillationRecord(_Record):
    """How a student was taught; the teacher is the run's model."""

    student: str = Field(description="Name of the network, or module:function.")
    width: float
    size: tuple[int, ...] = Field(description="Height and width that it looks at; empty if none.")
    weights: str = Field(description="What it began with: none, imagenet or a file's name.")
    parameters: int
    opset: int
    recipe: dict[str, JsonValue]
    augmentation: str
    planned: int = Field(description="Epochs.")
    ended: str = Field(description="epochs, patience, minutes or interrupted")
    best: int = Field(description="The epoch whose weights were kept.")
    curve: tuple[EpochRecord, ...]


class TrialRecord(_Record):
    """One trial of a search over students; what it gave is the candidate of the same number."""

    number: int = Field(description="Of its first attempt in the study.")
    state: Literal["waiting", "running", "complete", "pruned", "failed"]
    attempts: int = Field(description="More than one where a worker was killed.")
    seed: int | None = Field(default=None, description="Of its training; none before it began.")
    parameters: int | None = Field(default=None, description="Of its student.")
    drawn: dict[str, JsonValue] = Field(default_factory=dict, description="Its configuration.")
    epochs: int = Field(default=0, description="Done.")
    planned: int = Field(default=0, description="Epochs.")
    note: str = Field(default="", description="Why it ended without a result.")


class TuningRecord(_Record):
    """A search over students by bytes and accuracy; the teacher is the run's model."""

    study: str = Field(description="URL of the study, without a password.")
    name: str = Field(description="Of the study there: a hash of the question.")
    student: str
    wanted: int = Field(description="Trials.")
    workers: int = Field(description="Processes of this run.")
    space: dict[str, str] = Field(description="What was searched, as options would say it.")
    trials: tuple[TrialRecord, ...]
    front: tuple[int, ...] = Field(
        description="Trials that no other beats in both bytes and score, smallest first."
    )
    best: int = Field(description="The trial whose configuration is in sprat.toml.")


class LogEntry(_Record):
    """One line of the implementation log."""

    date: str = Field(description="ISO 8601, UTC, to the second.")
    operation: str
    result: str
    notes: str = ""


class Run(_Record):
    """The record of one run."""

    schema_version: Literal[1] = 1
    sprat: str = Field(description="Sprat's version.")
    versions: dict[str, str] = Field(description="Of Python, numpy, onnx, onnxruntime, brotli.")
    machine: str
    command: str = Field(description="The command line that repeats the run.")
    seed: int
    options: dict[str, JsonValue]
    model: FileRecord = Field(description="The original: what all else is held against.")
    student: FileRecord | None = Field(
        default=None, description="A network in the original's place, before any quantization."
    )
    outputs: tuple[FileRecord, ...]
    data: DataRecord
    inspection: Inspection = Field(
        description="Of the original; of the student where the choice is made of it."
    )
    simplified: tuple[str, ...] = Field(default=(), description="What cleaning did, a line each.")
    candidates: tuple[CandidateRecord, ...]
    choice: ChoiceRecord
    preview: CandidateRecord | None = None
    layers: tuple[LayerRecord, ...] = ()
    distillation: DistillationRecord | None = Field(
        default=None, description="How the student was taught, where this run did it."
    )
    tuning: TuningRecord | None = Field(
        default=None, description="The trials, where tune searched for the student."
    )
    proof: Proof | None = Field(default=None, description="What sprat prove measured.")
    timings: dict[str, float] = Field(description="Seconds by stage.")
    log: tuple[LogEntry, ...] = ()
