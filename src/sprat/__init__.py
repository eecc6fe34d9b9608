"""Sprat: the smallest ONNX model that still does its job, with proof.

The verbs of the command line are functions here::

    import sprat

    run = sprat.optimize(Path("model.onnx"), "photos", Path("small"))
    print(run.choice.reason)

Names are imported when they are first used, so that ``import sprat`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sprat.crew.workers import Workers
    from sprat.data.options import DataOptions
    from sprat.distillation.configs import Recipe, Student
    from sprat.errors import SpratError
    from sprat.graph.simplify import simplify
    from sprat.model.inspect import inspect
    from sprat.model.load import load, save
    from sprat.quantization.configs import Dynamic, Float16, RateDistortion, Static, Weights
    from sprat.quantization.quantize import quantize
    from sprat.record.history import read as history
    from sprat.workflow.budget import Budget
    from sprat.workflow.bundle import bundle
    from sprat.workflow.compare import compare
    from sprat.workflow.compile import compile
    from sprat.workflow.distill import distill
    from sprat.workflow.optimize import optimize
    from sprat.workflow.plan import Plan
    from sprat.workflow.prove import prove
    from sprat.workflow.tryout import tryout
    from sprat.workflow.tune import tune
    from sprat.workflow.verify import verify

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "DataOptions",
    "Dynamic",
    "Float16",
    "Plan",
    "RateDistortion",
    "Recipe",
    "SpratError",
    "Static",
    "Student",
    "Weights",
    "Workers",
    "__version__",
    "bundle",
    "compare",
    "compile",
    "distill",
    "history",
    "inspect",
    "load",
    "optimize",
    "prove",
    "quantize",
    "save",
    "simplify",
    "tryout",
    "tune",
    "verify",
]

_HOMES = {
    "Budget": "sprat.workflow.budget:Budget",
    "DataOptions": "sprat.data.options:DataOptions",
    "Dynamic": "sprat.quantization.configs:Dynamic",
    "Float16": "sprat.quantization.configs:Float16",
    "Plan": "sprat.workflow.plan:Plan",
    "RateDistortion": "sprat.quantization.configs:RateDistortion",
    "Recipe": "sprat.distillation.configs:Recipe",
    "SpratError": "sprat.errors:SpratError",
    "Static": "sprat.quantization.configs:Static",
    "Student": "sprat.distillation.configs:Student",
    "Weights": "sprat.quantization.configs:Weights",
    "Workers": "sprat.crew.workers:Workers",
    "bundle": "sprat.workflow.bundle:bundle",
    "compare": "sprat.workflow.compare:compare",
    "compile": "sprat.workflow.compile:compile",
    "distill": "sprat.workflow.distill:distill",
    "history": "sprat.record.history:read",
    "inspect": "sprat.model.inspect:inspect",
    "load": "sprat.model.load:load",
    "optimize": "sprat.workflow.optimize:optimize",
    "prove": "sprat.workflow.prove:prove",
    "quantize": "sprat.quantization.quantize:quantize",
    "save": "sprat.model.load:save",
    "simplify": "sprat.graph.simplify:simplify",
    "tryout": "sprat.workflow.tryout:tryout",
    "tune": "sprat.workflow.tune:tune",
    "verify": "sprat.workflow.verify:verify",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sprat' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(import_module(module), attribute)
