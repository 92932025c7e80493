"""For operators outside the language: the layer that is nearest, or why there is none."""

from __future__ import annotations

from cnndsl.errors import did_you_mean

_NEAREST = {
    "avgpool": "GlobalLpPool LpPool",
    "batchnorm": "GroupNormalization InstanceNormalization LayerNormalization LpNormalization "
    "MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization",
    "channel_shuffle": "DepthToSpace SpaceToDepth",
    "conv": "ConvInteger ConvTranspose Deconv DeformConv FusedConv NhwcFusedConv QLinearConv",
    "dense": "Attention Einsum FusedGemm FusedMatMul MatMulInteger MultiHeadAttention QGemm QLinearMatMul QuickGelu",
    "elu": "Selu",
    "gelu": "BiasGelu FastGelu",
    "globalavgpool": "QLinearGlobalAveragePool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceSum "
    "ReduceSumSquare",
    "globalmaxpool": "ReduceMin TopK",
    "maxpool": "MaxRoiPool MaxUnpool RoiAlign",
    "mul": "BitwiseAnd Reciprocal",
    "relu": "Abs Shrink ThresholdedRelu",
    "silu": "Mish",
    "softmax": "ArgMax Hardmax LogSoftmax",
    "tanh": "Atan Softplus Softsign",
}

_WHY = {
    "Resize Upsample GridSample AffineGrid Col2Im": "no layer makes a map larger",
    "GRU LSTM RNN": "layers have no memory",
    "If Loop Scan NonMaxSuppression Multinomial": "a network computes the same for every picture",
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QGemm QLinearAdd QLinearConcat QLinearConv "
    "QLinearGlobalAveragePool QLinearMatMul QLinearMul QuantizeLinear": "layers compute with floating-point numbers: "
    "import the model as it was before it was quantised",
}

_LAYER_OF = {op: layer for layer, ops in _NEAREST.items() for op in ops.split()}
_WHY_OF = {op: why for ops, why in _WHY.items() for op in ops.split()}


def nearest(op: str, known: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Notes and helps for an operator outside the language; `known` are the operators that are read."""
    notes = (_WHY_OF[op],) if op in _WHY_OF else ()
    layer = _LAYER_OF.get(op)
    if layer is not None:
        return notes, (f"the nearest layer is `{layer}`",)
    if notes:
        return notes, ()
    guess = did_you_mean(op, known)
    if guess is not None:
        return notes, (f"the nearest operator that is read is {guess}",)
    return notes, ("docs/layers.md lists the layers, and none is near",)
