"""Rate-distortion weight quantization: few distinct integers, rounded so that the output stays.

A web page pays for the entropy of the weights, not for their bits: int8 tensors that hold few
distinct values, sent with brotli, cost what they contain, and load in every ONNX Runtime. Each
value is therefore chosen by what it costs on the wire and by what it does to the layer's output.

Sources: second-order rounding with error feedback from OBS (Hassibi and Stork 1993), OBC (Frantar
and Alistarh 2022) and OPTQ (Frantar et al. 2022); the rate term from NNCodec / DeepCABAC (Wiedemann
et al. 2019; Becking et al. 2023) and CERWU (Conzelmann and Bamler 2025, arXiv 2505.18758).
"""

from sprat.quantization.rate_distortion.choice import prepare
from sprat.quantization.rate_distortion.engine import Point, Prepared
from sprat.quantization.rate_distortion.measure import LEAST_BATCHES, TYPICAL
from sprat.quantization.rate_distortion.pack import Form, pack
from sprat.quantization.rate_distortion.static import integer_graph
from sprat.quantization.rate_distortion.target import at_bits

__all__ = [
    "LEAST_BATCHES",
    "TYPICAL",
    "Form",
    "Point",
    "Prepared",
    "at_bits",
    "integer_graph",
    "pack",
    "prepare",
]
