"""What a proof says: plain frozen dataclasses that go into ``run.json``."""

from __future__ import annotations

from dataclasses import dataclass

from sprat.evaluate.types import Evaluation, Interval


@dataclass(frozen=True)
class Loading:
    """Whether a model loads.

    Attributes:
        loads: A session could be made.
        error: The runtime's own words where not.
        cause: What that means, in a short phrase such as ``unregistered operator``.
        hint: What to do about it.
        milliseconds: Time to make the session, the runtime's start included.
        heap: Bytes of the WebAssembly heap after it.
    """

    loads: bool
    error: str = ""
    cause: str = ""
    hint: str = ""
    milliseconds: float = 0.0
    heap: int = 0


@dataclass(frozen=True)
class Timing:
    """How long a model takes, from runs by turns with the original in one page.

    Attributes:
        threads: Threads of the runtime.
        first: Milliseconds of the first run after the session was made.
        median: Milliseconds of one run.
        p95: 95th percentile of all runs.
        ratio: Median over the rounds of model time / original time; None without an original.
        interval: First and ninth decile of the rounds' ratios.
        rounds: How many rounds.
    """

    threads: int
    first: float
    median: float
    p95: float
    ratio: float | None
    interval: Interval | None
    rounds: int


@dataclass(frozen=True)
class Visit:
    """First visits to a page with one model over one network, the cache empty.

    Attributes:
        subject: ``original`` or ``model``.
        mbps: Throughput in 10^6 bits a second.
        latency: Milliseconds that each request waits.
        bytes: All that was sent, the runtime and the page included.
        seconds: Time to the first prediction from the start of the navigation, median; None where
            it was not measured because theory says that it takes too long.
        spread: Least and most of the visits measured.
        predicted: What theory says: waiting, the bytes over the throughput (or the page's start,
            where that takes longer), then the session and one run as in an unthrottled visit.
        visits: How many were measured.
    """

    subject: str
    mbps: float
    latency: float
    bytes: int
    seconds: float | None
    spread: Interval | None
    predicted: float
    visits: int


@dataclass(frozen=True)
class Delivery:
    """Visits to the page of a bundle over one network.

    Attributes:
        mbps: Throughput in 10^6 bits a second.
        latency: Milliseconds that each request waits.
        visit: ``first``, with an empty cache, or ``second``.
        bytes: All that was sent, median.
        seconds: Time to the first answer from the start of the navigation, median.
        spread: Least and most of them.
        full: Time to the full model's answer, median.
        visits: How many were measured.
    """

    mbps: float
    latency: float
    visit: str
    bytes: int
    seconds: float
    spread: Interval
    full: float
    visits: int


@dataclass(frozen=True)
class Frame:
    """A picture of the page during a visit.

    Attributes:
        subject: ``original`` or ``model``.
        seconds: When it was taken, from the start of the navigation.
        image: JPEG, base64.
    """

    subject: str
    seconds: float
    image: str


@dataclass(frozen=True)
class OperatorCheck:
    """One kind of node that the runtime was asked to load alone.

    Attributes:
        operator: Name, with its domain where that is not ONNX's own.
        opset: Version of that domain.
        types: Element types of the inputs.
        nodes: How many nodes of the model are of this kind.
        error: The runtime's words where it refused; empty where it has the operator.
    """

    operator: str
    opset: int
    types: tuple[str, ...]
    nodes: int
    error: str


@dataclass(frozen=True)
class Seen:
    """The page's own way from an image file to the input, against Pillow's.

    Attributes:
        samples: How many images.
        exact: Share of the images whose input has the same bits, 0 to 1.
        largest: Largest absolute difference of a value of the input.
        flips: Answers of the model that differ from those on Pillow's input.
    """

    samples: int
    exact: float
    largest: float
    flips: int


@dataclass(frozen=True)
class LeanTry:
    """What the lean runtime makes of the model.

    Attributes:
        refused: Why it cannot do it; empty where it does.
        samples: It answered so many inputs as native ONNX Runtime does.
        largest: The largest difference of an output from native's.
        seconds: From the bytes in memory to the first answer.
        heap: Bytes of WebAssembly memory.
        wire: br-11 bytes of runtime, plan and weights.
    """

    refused: str = ""
    samples: int = 0
    largest: float = 0.0
    seconds: float = 0.0
    heap: int = 0
    wire: int = 0


@dataclass(frozen=True)
class Proof:
    """All that was measured of one model in one browser.

    Attributes:
        browser: Name and version.
        runtime: ONNX Runtime Web's version.
        isolated: The page was cross-origin isolated, which threads need.
        loading: Whether the model loads.
        original: The same of the original; None without one.
        against_native: The model in the browser against itself in native ONNX Runtime, on the same
            inputs; None where it does not load.
        against_original: The model in the browser against the original in native ONNX Runtime.
        native_drop: Points that the model in native ONNX Runtime loses against the original on the
            same samples: what ``against_original`` loses beyond it is the browser's.
        difference: Largest absolute difference of an output from native's on seeded noise, where
            no data was given.
        seen: The page's own preprocessing; None where the samples are no images.
        timings: By number of threads.
        heap: Peak bytes of the WebAssembly heap; None where the model does not load.
        original_heap: The same of the original.
        visits: By network.
        deliveries: Visits to the bundle's page, by network.
        frames: Pictures of the load at one network, before and after.
        operators: Each kind of node of the model.
        notes: What could not be measured, and why.
        lean: The model in the lean runtime; None where that was not tried.
    """

    browser: str
    runtime: str
    isolated: bool
    loading: Loading
    original: Loading | None = None
    against_native: Evaluation | None = None
    against_original: Evaluation | None = None
    difference: float | None = None
    seen: Seen | None = None
    timings: tuple[Timing, ...] = ()
    heap: int | None = None
    original_heap: int | None = None
    visits: tuple[Visit, ...] = ()
    deliveries: tuple[Delivery, ...] = ()
    frames: tuple[Frame, ...] = ()
    operators: tuple[OperatorCheck, ...] = ()
    notes: tuple[str, ...] = ()
    lean: LeanTry | None = None
    native_drop: float | None = None
