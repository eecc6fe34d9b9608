"""The cleaning passes by name, each done by the library that does it right.

Which library does which pass right is measured by ``benchmarks/passes.py``. The names are those
of onnxoptimizer where it has one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sprat.graph.merging import drop_zero_states, merge_products, merge_reshapes
from sprat.graph.transforms import (
    TARGET_OPSET,
    Transform,
    fold_constants,
    ir_pass,
    onnxoptimizer_pass,
    raise_opset,
    rules,
    slim,
    strip_metadata,
    take_weights_out_of_inputs,
    with_shapes,
)


@dataclass(frozen=True)
class Pass:
    """One cleaning pass.

    Attributes:
        name: Its name on the command line.
        description: What it does, in one line.
        library: Who does it.
        run: Returns a new model; the given one stays as it is.
        counts_shapes: Inferred shapes count among the bytes that it saves; for other passes they
            do not, because all are dropped in the end.
        needed: Kept although it does not make the model smaller, because later steps need it.
    """

    name: str
    description: str
    library: str
    run: Transform
    needed: bool = False
    counts_shapes: bool = False


_ALL = (
    Pass(
        "remove_initializer_from_input",
        "take weights out of the list of inputs, where no pass may fold them",
        "onnx-ir",
        take_weights_out_of_inputs,
        needed=True,
    ),
    Pass(
        "inline_functions",
        "replace calls of the model's own functions by their bodies",
        "onnx-ir",
        ir_pass("InlinePass"),
        needed=True,
    ),
    Pass(
        "lift_constants",
        "turn Constant nodes into initializers",
        "onnx-ir",
        ir_pass("LiftConstantsToInitializersPass", lift_all_constants=True, size_limit=0),
    ),
    Pass(
        "eliminate_deadend",
        "drop nodes whose results nobody uses",
        "onnx-ir",
        ir_pass("RemoveUnusedNodesPass"),
    ),
    Pass(
        "eliminate_unused_initializer",
        "drop initializers that nobody uses",
        "onnxoptimizer",
        onnxoptimizer_pass("eliminate_unused_initializer"),
    ),
    Pass(
        "eliminate_identity",
        "drop Identity nodes",
        "onnx-ir",
        ir_pass("IdentityEliminationPass"),
    ),
    Pass(
        "raise_opset",
        f"raise the opset to {TARGET_OPSET}, which later passes and per-channel integers need",
        "onnx",
        raise_opset,
        needed=True,
    ),
    Pass(
        "eliminate_nop_dropout",
        "drop Dropout, which does nothing in inference",
        "onnxslim",
        slim("constant_folding", "graph_fusion", "subexpression_elimination", "weight_tying"),
    ),
    Pass(
        "eliminate_nop_pad",
        "drop Pad by zero",
        "onnxoptimizer",
        onnxoptimizer_pass("eliminate_nop_pad"),
    ),
    Pass(
        "eliminate_nop_transpose",
        "drop Transpose that keeps the order of the axes",
        "onnxoptimizer",
        onnxoptimizer_pass("eliminate_nop_transpose"),
    ),
    Pass(
        "eliminate_nop_cast",
        "drop Cast to the same type",
        "onnxoptimizer",
        onnxoptimizer_pass("eliminate_nop_cast"),
    ),
    Pass(
        "fold_constants",
        "compute what does not depend on the input",
        "onnxscript",
        fold_constants,
    ),
    Pass(
        "fuse_bn_into_conv",
        "fold BatchNormalization into the Conv, ConvTranspose or Gemm before it",
        "onnxscript",
        rules(
            "fuse_batchnorm_into_conv_rule",
            "fuse_batchnorm_into_conv_transpose_rule",
            "fuse_batchnorm_into_gemm_rule",
        ),
    ),
    Pass(
        "fuse_pad_into_conv",
        "fold Pad into the Conv behind it",
        "onnxscript",
        rules("fuse_pad_into_conv_rule"),
    ),
    Pass(
        "fuse_consecutive_transposes",
        "merge Transpose behind Transpose",
        "onnxscript",
        rules("transpose_transpose_rule"),
    ),
    Pass(
        "fuse_consecutive_squeezes",
        "merge Squeeze behind Squeeze",
        "onnxoptimizer",
        onnxoptimizer_pass("fuse_consecutive_squeezes"),
    ),
    Pass(
        "fuse_consecutive_reshapes",
        "merge Reshape behind Reshape",
        "onnxscript",
        rules("reshape_reshape_rule"),
    ),
    Pass(
        "fuse_transpose_into_gemm",
        "fold Transpose into the Gemm behind it",
        "onnxoptimizer",
        onnxoptimizer_pass("fuse_transpose_into_gemm"),
    ),
    Pass(
        "fuse_matmul_add_into_gemm",
        "merge MatMul and Add of matrices into Gemm",
        "onnxscript",
        rules("matmul_add_to_gemm_rule"),
    ),
    Pass(
        "slim",
        "onnxslim's own round of shape folding, fusion and elimination",
        "onnxslim",
        slim(),
    ),
    Pass(
        "fold_symbolic_shapes",
        "compute from inferred shapes what does not depend on a free axis",
        "onnxslim",
        # A product that becomes a Gemm between two Reshapes adds nodes, which undoes all of it.
        with_shapes(slim(patterns_without=["FusionGemm"])),
    ),
    Pass(
        "merge_reshapes",
        "merge Reshape, Squeeze, Unsqueeze and Flatten in a row into one Reshape",
        "sprat",
        with_shapes(merge_reshapes),
    ),
    Pass(
        "drop_zero_states",
        "leave out the initial states of recurrent layers that are zero",
        "sprat",
        drop_zero_states,
    ),
    Pass(
        "merge_products",
        "merge products with one input, such as queries, keys and values, into one and Split",
        "sprat",
        merge_products,
    ),
    Pass(
        "fuse_hardswish",
        "merge Add, Clip, Div and Mul into HardSwish",
        "onnxscript",
        rules("fuse_hardswish_rules"),
    ),
    Pass(
        "eliminate_common_subexpression",
        "compute equal things once",
        "onnx-ir",
        ir_pass("CommonSubexpressionEliminationPass"),
    ),
    Pass(
        "deduplicate_initializers",
        "keep equal initializers once",
        "onnx-ir",
        ir_pass("DeduplicateHashedInitializersPass"),
    ),
    Pass(
        "strip_metadata",
        "drop inferred shapes, doc strings and exporters' notes",
        "sprat",
        strip_metadata,
        counts_shapes=True,
    ),
)

#: The passes by name, in the order in which they run.
PASSES: dict[str, Pass] = {p.name: p for p in _ALL}


def quiet() -> None:
    """Keep the libraries' loggers from writing to a stranger's screen."""
    for name in ("onnxscript", "onnx_ir", "onnxslim", "onnxoptimizer"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
