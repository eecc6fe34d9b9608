"""The operators that refinement executes: each a function of its inputs and the node."""

from sprat.refinement.operators.elementwise import ELEMENTWISE
from sprat.refinement.operators.layers import LAYERS
from sprat.refinement.operators.moving import MOVING
from sprat.refinement.operators.node import Node, Operator
from sprat.refinement.operators.reducing import REDUCING

OPERATORS: dict[str, Operator] = {**LAYERS, **ELEMENTWISE, **MOVING, **REDUCING}

__all__ = ["OPERATORS", "Node"]
