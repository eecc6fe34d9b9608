"""The gate: what we write is valid, and a fault of ours is told as ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sprat.data.noise import Noise
from sprat.errors import FaultyResultError
from sprat.evaluate.evaluate import reference_on
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import guess_reading
from sprat.model.inspect import tensor_infos
from sprat.model.load import save
from sprat.model.result import checker_refusal, result_bytes
from sprat.quantization import ort
from sprat.quantization.configs import Float16, Weights
from sprat.quantization.quantize import quantize
from sprat.search.candidates import Bench
from sprat.search.store import Store
from tests.models import one_logit_cnn


def _spoilt(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy that reads a value which nothing makes."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    out.graph.node[-1].input[0] = "nothing"
    return out


def _wrong_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy whose bias is float16, which ONNX Runtime refuses."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        if tensor.name == "conv1.bias":
            half = numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    return out


@pytest.mark.parametrize("spoil", [_spoilt, _wrong_types])
def test_a_model_that_is_none_is_not_written(
    spoil: Callable[[onnx.ModelProto], onnx.ModelProto], tmp_path: Path
) -> None:
    with pytest.raises(FaultyResultError, match="Your model is not to blame") as caught:
        save(spoil(one_logit_cnn()), tmp_path / "out.onnx", one_logit_cnn())
    assert not list(tmp_path.iterdir())
    assert caught.value.exit_code == 1


def test_a_sound_model_is_written_as_it_is(tmp_path: Path) -> None:
    model = one_logit_cnn()
    save(model, tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").read_bytes() == result_bytes(model)


def test_a_result_is_no_worse_than_what_it_was_made_from() -> None:
    """A wrong shape of an activation: the checker refuses it, ONNX Runtime runs it."""
    base = one_logit_cnn()
    shape = helper.make_tensor_value_info("relu1", TensorProto.FLOAT, ["n", 99, 16, 16])
    base.graph.value_info.append(shape)
    assert checker_refusal(base.SerializeToString())
    assert result_bytes(base, base)
    with pytest.raises(FaultyResultError, match="onnx's checker"):
        result_bytes(base, one_logit_cnn())


def test_a_method_that_spoils_the_graph_blames_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: onnx.ModelProto, _config: Weights) -> onnx.ModelProto:
        small = _spoilt(model)
        del small.graph.initializer[:]
        return small

    monkeypatch.setattr("sprat.quantization.quantize.quantize_weights", broken)
    with pytest.raises(FaultyResultError, match=r"^weights quantization: the model that it made"):
        quantize(one_logit_cnn(), Weights())


def test_a_candidate_that_is_spoilt_is_a_failed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is recorded with the reason, and the search goes on."""
    model = one_logit_cnn()
    noise = Noise(tensor_infos(model), tuple(range(8)), 0)
    outputs = predict_all(model, noise, 1)
    reading, _ = guess_reading(model, outputs)
    reference = reference_on(model, noise, "noise", reading, outputs=outputs, size=1)
    samples = [noise.batch([i]) for i in range(4)]
    bench = Bench(model, model, model, samples, reference, Store(tmp_path, {}), 100.0)
    monkeypatch.setattr(ort, "convert_float16", lambda model, _config: _wrong_types(model))
    failed, made = bench.propose("float16", Float16()), bench.propose("int8", Weights())
    assert failed.record.outcome == "failed"
    assert "Your model is not to blame" in failed.record.note
    assert made.record.outcome == "within budget"
