"""A graph's weights in 8 bits, a scale for each output; the arithmetic stays in float32.

ONNX Runtime's own dynamic quantisation makes activations 8 bits as well: quicker on a processor, but the bundled
model's scores then stray by 0.07 instead of 0.01 (docs/export.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALL: Final = 64  # inputs; so narrow a layer (the first convolution) saves nothing and loses accuracy
_LARGEST: Final = 127
_HEAD: Final = "encoder.head."


def quantize_weights(model: Any) -> None:
    """Store the weights of an onnx_ir model's products and convolutions in int8, in place. The head stays as it is."""
    for node in tuple(model.graph):
        if node.op_type in ("Gemm", "Conv") and not node.inputs[1].name.startswith(_HEAD):
            weight = node.inputs[1]
            axis = 0 if node.op_type == "Conv" or _transposed(node) else 1
            if weight.const_value is not None and weight.const_value.size // weight.shape[axis] > _SMALL:
                node.replace_input_with(1, _dequantized(model.graph, node, weight, axis))


def _transposed(node: Any) -> bool:
    return "transB" in node.attributes and bool(node.attributes["transB"].as_int())


def _dequantized(graph: Any, node: Any, weight: Any, axis: int) -> Any:
    """Return a value that equals `weight` within half a step, made from int8 where the graph runs."""
    import onnx_ir as ir

    integers, scales = quantized(weight.const_value.numpy(), axis)
    parts = [
        _initializer(graph, f"{weight.name}.{name}", part) for name, part in (("int8", integers), ("scale", scales))
    ]
    again = ir.node("DequantizeLinear", parts, {"axis": axis})
    again.outputs[0].name = f"{weight.name}.dequantized"
    graph.insert_before(node, again)
    if weight.name in graph.initializers and len(weight.uses()) == 1:
        del graph.initializers[weight.name]
    return again.outputs[0]


def _initializer(graph: Any, name: str, values: NDArray[Any]) -> Any:
    import onnx_ir as ir

    value = ir.val(name, const_value=ir.tensor(values, name=name))
    graph.register_initializer(value)
    return value


def quantized(weight: NDArray[np.floating], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a weight in int8 and the scale of each index along `axis`; the largest of each becomes 127."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    exact = weight.astype(np.float32)
    scales = np.maximum(np.abs(exact).max(others, keepdims=True), np.float32(1e-12)) / np.float32(_LARGEST)
    return np.rint(exact / scales).astype(np.int8), scales.reshape(-1)
