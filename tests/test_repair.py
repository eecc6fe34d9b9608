"""What each layer costs, kept and read again."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from sprat.data.noise import Noise
from sprat.evaluate.evaluate import reference_on
from sprat.evaluate.predict import predict_all
from sprat.evaluate.reading import guess_reading
from sprat.model.inspect import tensor_infos
from sprat.model.nodes import name_nodes
from sprat.quantization.configs import Float16
from sprat.search.candidates import Bench
from sprat.search.repair import sensitivities
from sprat.search.store import Store
from tests.networks import cnn


def bench(folder: Path) -> Bench:
    """A network with a node that has nothing to quantize, which so has no cost."""
    model = cnn()
    model.graph.node.append(helper.make_node("Relu", [model.graph.output[0].name], ["last"]))
    model.graph.output[0].name = "last"
    model = name_nodes(model)
    noise = Noise(tensor_infos(model), tuple(range(8)), 0)
    outputs = predict_all(model, noise, 1)
    reading, _ = guess_reading(model, outputs)
    samples = [noise.batch([i]) for i in range(4)]
    reference = reference_on(model, noise, "noise", reading, outputs=outputs, size=1)
    return Bench(model, model, model, samples, reference, Store(folder, {}), 1.0)


def nodes_without_weights(model: onnx.ModelProto) -> set[str]:
    return {node.name for node in model.graph.node if node.op_type == "Relu"}


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_search_that_goes_on_finds_the_same_costs(lost: int, tmp_path: Path) -> None:
    wanted = sensitivities(bench(tmp_path), Float16())
    kept = sorted(tmp_path.glob("*.json"))
    assert len(wanted) < len(kept)  # some have no cost
    assert nodes_without_weights(bench(tmp_path).clean) - {name for name, _ in wanted}
    for path in kept[:lost]:
        path.unlink()
    if lost:
        kept[-1].write_text("null")  # as an earlier version said that there is no cost
    assert sensitivities(bench(tmp_path), Float16()) == wanted
