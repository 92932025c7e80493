"""The messages of Caffe's files, as a schema of our own for the `protobuf` package.

Names, numbers and defaults of fields are those of Caffe's format; what a network at inference has no use for is left
out, and so is unknown to the reader. The same messages are read from text (``.prototxt``) and from bytes; weights,
which may be large, are read by `cnndsl.weights.caffe` without this package.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

PACKAGE = "cnndsl.caffe"

_SCHEMA = """
message BlobShape
    1 dim int64[packed]
message BlobProto
    7 shape BlobShape
    5 data float[packed]
    6 diff float[packed]
    8 double_data double[packed]
    9 double_diff double[packed]
    1 num int32 = 0
    2 channels int32 = 0
    3 height int32 = 0
    4 width int32 = 0

message NetParameter
    1 name string
    3 input string[]
    8 input_shape BlobShape[]
    4 input_dim int32[]
    6 state NetState
    100 layer LayerParameter[]
    2 layers V1LayerParameter[]

enum Phase TRAIN=0 TEST=1
message NetState
    1 phase Phase = TEST
    2 level int32 = 0
    3 stage string[]
message NetStateRule
    1 phase Phase
    2 min_level int32
    3 max_level int32
    4 stage string[]
    5 not_stage string[]

message LayerParameter
    1 name string
    2 type string
    3 bottom string[]
    4 top string[]
    10 phase Phase
    7 blobs BlobProto[]
    8 include NetStateRule[]
    9 exclude NetStateRule[]
    100 transform_param TransformationParameter
    139 batch_norm_param BatchNormParameter
    141 bias_param BiasParameter
    148 clip_param ClipParameter
    104 concat_param ConcatParameter
    106 convolution_param ConvolutionParameter
    108 dropout_param DropoutParameter
    109 dummy_data_param DummyDataParameter
    110 eltwise_param EltwiseParameter
    140 elu_param ELUParameter
    135 flatten_param FlattenParameter
    117 inner_product_param InnerProductParameter
    143 input_param InputParameter
    118 lrn_param LRNParameter
    119 memory_data_param MemoryDataParameter
    121 pooling_param PoolingParameter
    122 power_param PowerParameter
    131 prelu_param PReLUParameter
    136 reduction_param ReductionParameter
    123 relu_param ReLUParameter
    133 reshape_param ReshapeParameter
    142 scale_param ScaleParameter
    126 slice_param SliceParameter
    125 softmax_param SoftmaxParameter
    147 swish_param SwishParameter

enum V1LayerType
    NONE=0 ABSVAL=35 ACCURACY=1 ARGMAX=30 BNLL=2 CONCAT=3 CONTRASTIVE_LOSS=37 CONVOLUTION=4 DATA=5 DECONVOLUTION=39
    DROPOUT=6 DUMMY_DATA=32 EUCLIDEAN_LOSS=7 ELTWISE=25 EXP=38 FLATTEN=8 HDF5_DATA=9 HDF5_OUTPUT=10 HINGE_LOSS=28
    IM2COL=11 IMAGE_DATA=12 INFOGAIN_LOSS=13 INNER_PRODUCT=14 LRN=15 MEMORY_DATA=29 MULTINOMIAL_LOGISTIC_LOSS=16
    MVN=34 POOLING=17 POWER=26 RELU=18 SIGMOID=19 SIGMOID_CROSS_ENTROPY_LOSS=27 SILENCE=36 SOFTMAX=20 SOFTMAX_LOSS=21
    SPLIT=22 SLICE=33 TANH=23 WINDOW_DATA=24 THRESHOLD=31
message V1LayerParameter
    2 bottom string[]
    3 top string[]
    4 name string
    32 include NetStateRule[]
    33 exclude NetStateRule[]
    5 type V1LayerType
    6 blobs BlobProto[]
    9 concat_param ConcatParameter
    10 convolution_param ConvolutionParameter
    12 dropout_param DropoutParameter
    26 dummy_data_param DummyDataParameter
    24 eltwise_param EltwiseParameter
    17 inner_product_param InnerProductParameter
    18 lrn_param LRNParameter
    22 memory_data_param MemoryDataParameter
    19 pooling_param PoolingParameter
    21 power_param PowerParameter
    30 relu_param ReLUParameter
    39 softmax_param SoftmaxParameter
    31 slice_param SliceParameter
    36 transform_param TransformationParameter
    1 layer V0LayerParameter
message V0LayerParameter
    1 name string
    2 type string
    50 blobs BlobProto[]

message TransformationParameter
    1 scale float = 1
    2 mirror bool = false
    3 crop_size uint32 = 0
    4 mean_file string
    5 mean_value float[]
    6 force_color bool = false
    7 force_gray bool = false
message BatchNormParameter
    1 use_global_stats bool
    2 moving_average_fraction float = 0.999
    3 eps float = 1e-5
message BiasParameter
    1 axis int32 = 1
    2 num_axes int32 = 1
message ClipParameter
    1 min float
    2 max float
message ConcatParameter
    2 axis int32 = 1
    1 concat_dim uint32 = 1
message ConvolutionParameter
    1 num_output uint32
    2 bias_term bool = true
    3 pad uint32[]
    4 kernel_size uint32[]
    6 stride uint32[]
    18 dilation uint32[]
    9 pad_h uint32 = 0
    10 pad_w uint32 = 0
    11 kernel_h uint32
    12 kernel_w uint32
    13 stride_h uint32
    14 stride_w uint32
    5 group uint32 = 1
    16 axis int32 = 1
message DropoutParameter
    1 dropout_ratio float = 0.5
message DummyDataParameter
    6 shape BlobShape[]
    2 num uint32[]
    3 channels uint32[]
    4 height uint32[]
    5 width uint32[]
enum EltwiseOp PROD=0 SUM=1 MAX=2
message EltwiseParameter
    1 operation EltwiseOp = SUM
    2 coeff float[]
message ELUParameter
    1 alpha float = 1
message FlattenParameter
    1 axis int32 = 1
    2 end_axis int32 = -1
message InnerProductParameter
    1 num_output uint32
    2 bias_term bool = true
    5 axis int32 = 1
    6 transpose bool = false
message InputParameter
    1 shape BlobShape[]
enum NormRegion ACROSS_CHANNELS=0 WITHIN_CHANNEL=1
message LRNParameter
    1 local_size uint32 = 5
    2 alpha float = 1
    3 beta float = 0.75
    4 norm_region NormRegion = ACROSS_CHANNELS
    5 k float = 1
message MemoryDataParameter
    1 batch_size uint32
    2 channels uint32
    3 height uint32
    4 width uint32
enum PoolMethod MAX=0 AVE=1 STOCHASTIC=2
enum RoundMode CEIL=0 FLOOR=1
message PoolingParameter
    1 pool PoolMethod = MAX
    4 pad uint32 = 0
    9 pad_h uint32 = 0
    10 pad_w uint32 = 0
    2 kernel_size uint32
    5 kernel_h uint32
    6 kernel_w uint32
    3 stride uint32 = 1
    7 stride_h uint32
    8 stride_w uint32
    12 global_pooling bool = false
    13 round_mode RoundMode = CEIL
message PowerParameter
    1 power float = 1
    2 scale float = 1
    3 shift float = 0
message PReLUParameter
    2 channel_shared bool = false
enum ReductionOp SUM=1 ASUM=2 SUMSQ=3 MEAN=4
message ReductionParameter
    1 operation ReductionOp = SUM
    2 axis int32 = 0
    3 coeff float = 1
message ReLUParameter
    1 negative_slope float = 0
message ReshapeParameter
    1 shape BlobShape
    2 axis int32 = 0
    3 num_axes int32 = -1
message ScaleParameter
    1 axis int32 = 1
    2 num_axes int32 = 1
    4 bias_term bool = false
message SliceParameter
    3 axis int32 = 1
    2 slice_point uint32[]
    1 slice_dim uint32 = 1
message SoftmaxParameter
    2 axis int32 = 1
message SwishParameter
    1 beta float = 1
"""
"""A line of a message is a field: its number, its name, its type, and its default. ``[]`` is for repeated fields."""


@functools.cache
def net_parameter() -> type[Message]:
    """The class of a whole network, Caffe's ``NetParameter``, to parse texts and bytes with.

    Raises ModuleNotFoundError where `protobuf` is not installed.
    """
    # A pool of our own: a process that has Caffe's own schema as well would not take two files of one name.
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}.proto", package=PACKAGE)
    _define(file, _SCHEMA.splitlines())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found: type[Message] = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.NetParameter"))
    return found


def _define(file: Any, lines: Iterable[str]) -> None:
    """Add the messages and enums that lines describe to a file of descriptors."""
    message: Any = None
    enum: Any = None
    for line in filter(str.strip, lines):
        match line.split():
            case "message", name:
                message, enum = file.message_type.add(name=name), None
            case "enum", name, *values:
                # Values of an enum are known to all of its scope: one of each name stands within a message of its own.
                message, enum = None, file.message_type.add(name=f"{name}Values").enum_type.add(name=name)
                _add_values(enum, values)
            case values if enum is not None:
                _add_values(enum, values)
            case number, name, type_, *rest:
                _add_field(message, int(number), name, type_=type_, default=rest[1] if rest else None)
    scopes = [m for m in file.message_type if m.enum_type]
    enums = {m.enum_type[0].name: f".{PACKAGE}.{m.name}.{m.enum_type[0].name}" for m in scopes}
    for message in file.message_type:
        for field in message.field:
            if field.type_name in enums:
                field.type, field.type_name = field.TYPE_ENUM, enums[field.type_name]
            elif field.type_name:
                field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{field.type_name}"


def _add_values(enum: Any, values: Iterable[str]) -> None:
    for value in values:
        name, number = value.split("=")
        enum.value.add(name=name, number=int(number))


def _add_field(message: Any, number: int, name: str, *, type_: str, default: str | None) -> None:
    base, bracket, packed = type_.removesuffix("]").partition("[")
    field = message.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if bracket else field.LABEL_OPTIONAL
    if packed:
        field.options.packed = True
    if base[0].islower():
        field.type = getattr(field, f"TYPE_{base.upper()}")
    else:
        field.type_name = base  # a message or an enum, told apart when all are known
    if default is not None:
        field.default_value = default
