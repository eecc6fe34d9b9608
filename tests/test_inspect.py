"""What a model is."""

from pathlib import Path

import pytest
from onnx import helper

from sprat.model.inspect import inspect
from sprat.model.load import save
from sprat.model.wire import brotli_bytes, download_seconds, wire_bytes
from tests.models import build, cnn


def test_says_what_it_is(tmp_path: Path) -> None:
    path = save(cnn(), tmp_path / "cnn.onnx")
    found = inspect(path)
    assert found.file_bytes == path.stat().st_size
    assert found.parameters == 16 * 27 + 16 * 5 + 32 * 16 * 9 + 32 + 32 + 1
    assert found.opset == 17
    assert (found.inputs[0].name, found.inputs[0].shape) == ("x", ("n", 3, 16, 16))
    assert found.outputs[0].shape == ("n", 1)
    assert found.layers[0].name == "conv2"
    assert found.layers[0].multiply_adds == 32 * 8 * 8 * 16 * 9
    assert found.multiply_adds == 16 * 256 * 27 + 32 * 64 * 144 + 32
    assert sum(layer.multiply_adds_share for layer in found.layers) == pytest.approx(1)
    assert "CNN" in found.architecture
    assert any("BatchNormalization, 1 of them foldable" in line for line in found.waste)
    assert found.wire.brotli == brotli_bytes(path.read_bytes())
    assert not found.wire.estimated
    assert len(found.advice) >= 2


def test_downloads_count_the_runtime(tmp_path: Path) -> None:
    found = inspect(save(cnn(), tmp_path / "cnn.onnx"))
    assert [d.mbps for d in found.downloads] == [50, 10, 1]
    for one in found.downloads:
        assert one.seconds_with_runtime > one.seconds + 2_000_000 * 8 / (one.mbps * 1e6)


def test_the_mission_s_own_figures() -> None:
    assert download_seconds(44_698_616, 50) == pytest.approx(7.15, abs=0.01)
    assert download_seconds(44_698_616, 1) / 60 == pytest.approx(5.96, abs=0.01)


def test_other_waste_is_found(tmp_path: Path) -> None:
    weight = [[1.0, 2.0], [3.0, 4.0]]
    node = helper.make_node
    model = build(
        [node("Identity", ["x"], ["a"]), node("Relu", ["a"], ["y"])],
        {"nobody": weight, "w": [float(i) for i in range(64)], "v": [float(i) for i in range(64)]},
        {"x": ["n", 2]},
        {"y": ["n", 2]},
    )
    waste = " ".join(inspect(save(model, tmp_path / "m.onnx")).waste)
    assert "Identity" in waste
    assert "unused" in waste
    assert "twice" in waste


def test_large_files_are_estimated_from_samples() -> None:
    import numpy as np

    content = np.random.default_rng(0).standard_normal(800_000).astype(np.float32).tobytes()
    exact, estimate = wire_bytes(content), wire_bytes(content, exact=False)
    assert estimate.estimated
    assert not exact.estimated
    assert estimate.raw == exact.raw
    assert estimate.brotli == pytest.approx(exact.brotli, rel=0.02)
    assert estimate.gzip == pytest.approx(exact.gzip, rel=0.02)
