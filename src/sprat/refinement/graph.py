"""Execute a model's float graph in torch, so that its weights get gradients.

A loop over the nodes, each one a function of ``torch.nn.functional``. Weights are looked up by
their initializers' names, so that whatever stands in for one is seen by gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor

from sprat.errors import UnsupportedModelError
from sprat.model.session import Feeds
from sprat.refinement.operators import OPERATORS, Node

_HINT = "Leave --refine out: rate-distortion quantization works without."


class Graph:
    """A model that torch executes.

    Args:
        model: Float; opset 11 or later.

    Raises:
        UnsupportedModelError: A node cannot be executed; operator and node are named.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        opset = max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        self._nodes = [_node(node, opset) for node in model.graph.node]
        self._constants = {
            tensor.name: _tensor(numpy_helper.to_array(tensor))
            for tensor in model.graph.initializer
        }
        self._outputs = [output.name for output in model.graph.output]

    def __call__(self, feeds: Feeds, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run one batch.

        Args:
            feeds: One array per input.
            weights: Initializer name to what stands in for it.

        Returns:
            Output name to its value.

        Raises:
            UnsupportedModelError: A node cannot be executed as its attributes want it.
        """
        values: dict[str, Tensor] = {**self._constants, **weights}
        values |= {name: _tensor(array) for name, array in feeds.items()}
        for node in self._nodes:
            given = [values[name] if name else None for name in node.inputs]
            try:
                results = OPERATORS[node.operator](given, node)
            except NotImplementedError as error:
                raise _unsupported(node.name, f"{node.operator} with {error}") from error
            found = results if isinstance(results, tuple) else (results,)
            values |= dict(zip(node.outputs, found, strict=False))
        return {name: values[name] for name in self._outputs}


def _node(node: onnx.NodeProto, opset: int) -> Node:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise _unsupported(node.name, "::".join(filter(None, [node.domain, node.op_type])))
    flags = {a.name: _flag(helper.get_attribute_value(a)) for a in node.attribute}
    return Node(node.op_type, node.name, tuple(node.input), tuple(node.output), flags, opset)


def _flag(value: Any) -> Any:
    if isinstance(value, onnx.TensorProto):
        return _tensor(numpy_helper.to_array(value))
    return value.decode() if isinstance(value, bytes) else value


def _tensor(array: Any) -> Tensor:
    return torch.from_numpy(np.array(array, order="C"))


def _unsupported(name: str, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"refinement cannot execute {what}.", where=name, hint=_HINT)
