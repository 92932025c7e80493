"""The operators of torch that are read: ATen's, one function for each.

As `torch.export` leaves them (``conv2d``, ``batch_norm``) and as torch.compile's graphs hold them (``convolution``,
``_native_batch_norm_legit_no_training``, ``addmm``). A function receives a `Call`, whose arguments are named as in the
operator's schema.
"""

from __future__ import annotations

from collections.abc import Callable

from cnndsl.exchange.torch import arithmetic, layers, shapes
from cnndsl.exchange.torch.call import Call
from cnndsl.exchange.torch.values import Value
from cnndsl.ops import activations as act

OPERATORS: dict[str, Callable[[Call], Value]] = {
    "conv2d": layers.convolution,
    "convolution": layers.convolution,
    "linear": layers.linear,
    "addmm": layers.addmm,
    "mm": layers.matrix_product,
    "matmul": layers.matrix_product,
    "batch_norm": layers.batch_norm,
    "_native_batch_norm_legit_no_training": layers.native_batch_norm,
    "cudnn_batch_norm": layers.native_batch_norm,
    "miopen_batch_norm": layers.native_batch_norm,
    "max_pool2d": layers.max_pool,
    "max_pool2d_with_indices": layers.max_pool_with_indices,
    "avg_pool2d": layers.avg_pool,
    "adaptive_avg_pool2d": layers.adaptive_avg_pool,
    "_adaptive_avg_pool2d": layers.adaptive_avg_pool,
    "adaptive_max_pool2d": layers.adaptive_max_pool,
    "mean": layers.mean,
    "amax": layers.largest,
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "rsub": arithmetic.reverse_subtract,
    "neg": arithmetic.negative,
    "mul": arithmetic.multiply,
    "div": arithmetic.divide,
    "pow": arithmetic.power,
    "cat": arithmetic.concat,
    "concat": arithmetic.concat,
    "view": shapes.reshape,
    "reshape": shapes.reshape,
    "_unsafe_view": shapes.reshape,
    "flatten": shapes.reshape,
    "unsqueeze": shapes.reshape,
    "squeeze": shapes.reshape,
    "slice": shapes.part,
    "expand": shapes.expand,
    "expand_as": shapes.expand,
    "avg_pool3d": shapes.avg_pool_3d,
    "pad": shapes.pad,
    "constant_pad_nd": shapes.pad,
    "transpose": shapes.transpose,
    "permute": shapes.permute,
    "t": shapes.matrix_transpose,
    "channel_shuffle": shapes.channel_shuffle,
    "native_channel_shuffle": shapes.channel_shuffle,
    "contiguous": shapes.nothing,
    "clone": shapes.nothing,
    "alias": shapes.nothing,
    "detach": shapes.nothing,
    "lift_fresh_copy": shapes.nothing,
    "to": shapes.convert,
    "_to_copy": shapes.convert,
    "type_as": shapes.convert,
    "dropout": layers.dropout,
    "feature_dropout": layers.dropout,
    "relu": layers.plain(act.Relu()),
    "relu6": layers.plain(act.Relu6()),
    "sigmoid": layers.plain(act.Sigmoid()),
    "tanh": layers.plain(act.Tanh()),
    "silu": layers.plain(act.Silu()),
    "hardswish": layers.plain(act.HardSwish()),
    "hardsigmoid": layers.plain(act.HardSigmoid()),
    "hardtanh": layers.hardtanh,
    "clamp": layers.clamp,
    "clamp_min": layers.clamp,
    "gelu": layers.gelu,
    "elu": layers.elu,
    "leaky_relu": layers.leaky_relu,
    "softmax": layers.softmax,
    "_softmax": layers.softmax,
}
"""The operators that are layers, or steps towards one, by their names without overloads and trailing underscores."""

_NEAREST = {
    "batchnorm": "group_norm instance_norm layer_norm native_group_norm native_layer_norm rms_norm",
    "channel_shuffle": "pixel_shuffle pixel_unshuffle",
    "concat": "chunk index_select narrow select split split_with_sizes stack unbind",
    "conv": "conv1d conv3d conv_transpose2d",
    "dense": "baddbmm bilinear bmm einsum scaled_dot_product_attention",
    "dropout": "alpha_dropout feature_alpha_dropout native_dropout rrelu",
    "elu": "celu selu",
    "flatten": "unflatten",
    "globalavgpool": "sum",
    "globalmaxpool": "argmax max amin min",
    "leaky_relu": "prelu",
    "mul": "addcmul glu reciprocal square",
    "relu": "abs maximum minimum threshold",
    "sigmoid": "log_sigmoid",
    "silu": "mish",
    "softmax": "_log_softmax log_softmax",
    "tanh": "softplus softsign",
}

NEAREST = {operator: layer for layer, operators in _NEAREST.items() for operator in operators.split()}
"""The layer that comes closest to an operator that is none; names that look alike may mean anything else."""
