"""How a change of weights shows at a model's final output."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from sprat.errors import UnsupportedModelError
from sprat.model.nodes import names_read
from sprat.model.session import Feeds, Outputs, open_session, predict

#: Mean divergence of some outputs from the reference's, in nats or relative squared error.
Divergence = Callable[[Sequence[Outputs], Sequence[Outputs]], float]

_LEAST = 1e-12
#: What lies before a node is run once, unless its values on all samples take more than this.
_MOST_BYTES = 1 << 29


@dataclass(frozen=True)
class Look:
    """A model, or the rest of one from some node on, with samples to look at it.

    Attributes:
        model: Float.
        held: Batches of its inputs.
        reference: The outputs of the unchanged model on them.
        divergence: Compares with them.
    """

    model: onnx.ModelProto
    held: Sequence[Feeds]
    reference: Sequence[Outputs]
    divergence: Divergence

    def at(self, weights: Mapping[str, NDArray[np.float32]]) -> float:
        """Return the divergence with some initializers replaced, at least 1e-12."""
        return max(self.divergence(self.reference, self.outputs(weights)), _LEAST)

    def outputs(self, weights: Mapping[str, NDArray[np.float32]]) -> list[Outputs]:
        """Return the outputs with some initializers replaced, batch by batch."""
        return list(predict(open_session(replaced(self.model, weights)), self.held))

    def from_node(self, name: str) -> Look:
        """Return a look that need not run again what lies before a node.

        Args:
            name: Of the node, in the main graph.

        Returns:
            A look at the rest; this one where the model cannot be cut there, or where the values
            at the cut take too much memory.
        """
        nodes = list(self.model.graph.node)
        index = next(i for i, node in enumerate(nodes) if node.name == name)
        made = {output for node in nodes[:index] for output in node.output}
        needed = {read for node in nodes[index:] for read in names_read(node)}
        crossing = sorted(made & needed)
        if not crossing or made & {output.name for output in self.model.graph.output}:
            return self
        try:
            values = self._values(nodes[:index], crossing)
            if values is None:
                return self
            kept = [
                {**{k: v for k, v in feeds.items() if k in needed}, **found}
                for feeds, found in zip(self.held, values, strict=True)
            ]
            outputs = list(self.model.graph.output)
            rest = _part(self.model, nodes[index:], _infos(kept[0]), outputs)
            open_session(rest)
        except UnsupportedModelError:  # a cut that the runtime does not take: nothing is lost
            return self
        return replace(self, model=rest, held=kept)

    def _values(
        self, nodes: Sequence[onnx.NodeProto], names: Sequence[str]
    ) -> list[Outputs] | None:
        inputs = list(self.model.graph.input)
        outputs = [helper.make_empty_tensor_value_info(name) for name in names]
        session = open_session(_part(self.model, nodes, inputs, outputs))
        found: list[Outputs] = []
        for values in predict(session, self.held):
            if not all(isinstance(v, np.ndarray) and v.dtype != object for v in values.values()):
                return None
            if sum(v.nbytes for v in values.values()) * len(self.held) > _MOST_BYTES:
                return None
            found.append(values)
        return found


def _infos(feeds: Feeds) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(values.dtype), [None] * values.ndim
        )
        for name, values in feeds.items()
    ]


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Return a model of some of the nodes, with the initializers that they read."""
    read = {name for node in nodes for name in names_read(node)}
    graph = helper.make_graph(
        nodes,
        model.graph.name,
        inputs,
        outputs,
        [tensor for tensor in model.graph.initializer if tensor.name in read],
        sparse_initializer=[t for t in model.graph.sparse_initializer if t.values.name in read],
    )
    return helper.make_model(
        graph,
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
        functions=model.functions,
    )


def relative_error(reference: Sequence[Outputs], model: Sequence[Outputs]) -> float:
    """Return the squared error over the reference's mean square, of the output that has most."""
    found = []
    for name in reference[0] if reference else ():
        error = signal = 0.0
        for wanted, got in zip(reference, model, strict=True):
            exact = wanted[name].astype(np.float64)
            error += float(((got[name].astype(np.float64) - exact) ** 2).sum())
            signal += float((exact**2).sum())
        found.append(error / max(signal, 1e-30))
    return max(found, default=0.0)


def replaced(model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Return a copy with some initializers replaced."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    return out
