"""E04xx: weights, pictures, tensors and labels."""

from __future__ import annotations

from cnndsl.codes.code import Code

FILES = (
    Code(
        code="E0401",
        title="the weights cannot be read",
        explanation="""The file is missing, a folder, empty, damaged, of an unknown format, claims more than it has, or
            holds Python objects. Weights come as .safetensors, .pt or .pth, .npz, .caffemodel, .onnx and Darknet's
            .weights; the format is known by the content as well as by the name.

            A pickle can run any code when it is read, so only tensors and plain containers are taken from it. Of a
            whole saved model keep the tensors: torch.save(model.state_dict(), "weights.pt").""",
        message="error[E0401]: cannot read the weights alexnet.bin: unknown format `.bin`",
    ),
    Code(
        code="E0402",
        title="weights are missing",
        explanation="""The file lacks tensors that the network has. Each is listed, with a like-named tensor of its
            shape where there is one. If all shapes agree in their order and only the names differ, --match order
            loads them. If a layer has no bias in the file, write bias=false.""",
        message="error[E0402]: w.pt lacks 1 of the network's 16 tensors\n"
        " = note: `fc7.bias` [4096] is missing: fc7 has no bias there",
    ),
    Code(
        code="E0403",
        title="the file has weights that belong to nothing",
        explanation="""The file has tensors that the network has not: it is another network's, or has extra heads,
            or a bias where the layer says bias=false.

            Where the network leaves out layers on purpose, such as heads that only training needs, --allow-extra does
            not load their tensors; in Python, extra="ignore". A tensor of a layer that the network does have is a
            mistake all the same: without its bias, the layer would compute other numbers.""",
        message="error[E0403]: w.pt has 1 tensor that the network has not\n"
        " = note: `aux.weight` [2, 2] belongs to nothing in the network: there is no layer aux",
    ),
    Code(
        code="E0404",
        title="a weight has another shape",
        explanation="""A tensor of the file has another shape than the layer needs. The message says what differs:
            filters, channels or window; or that the file keeps its axes in another order, with the permutation that
            mends it.""",
        message="error[E0404]: w.pt has 1 tensor of another shape\n"
        " = note: `fc6.weight` is [4096, 9216] here, but [9216, 4096] there: there it is transposed",
    ),
    Code(
        code="E0405",
        title="weights cannot be paired by order",
        explanation="""With --match order, the tensors of both sides are paired by their order and shapes. At some
            place shapes or kinds differ, one side ends early, or the file keeps its names sorted so that the order
            is lost and no number in them restores it. Compare the neighbours that are shown; a .pt file keeps the
            order.""",
        message="error[E0405]: the tensors of w.pt cannot be paired by order\n"
        " = note: number 3 does not: the network has `conv1_2.weight`, there it is `features.3.weight`",
    ),
    Code(
        code="E0406",
        title="weights that cannot be used",
        explanation="""The values of a tensor cannot be a parameter: integers, booleans or complex numbers, NaN, a
            negative variance. Training diverged, or the file is damaged. fp16, bf16, fp32 and fp64 are taken.""",
        message="error[E0406]: w.pt has 1 tensor whose values cannot be used\n"
        " = note: `fc8.bias` has 12 NaN among its 1,000 values",
    ),
    Code(
        code="E0407",
        title="the file of weights needs another command or option",
        explanation="""--bgr turns the first convolution of a .caffemodel, and this file is none or its first layer
            reads no picture of three channels; no name in the file begins with what --prefix says; or it is a Darknet
            file, whose values have no names, and no network is given beside it.""",
        message="error[E0407]: darknet19.weights has 20,842,376 values without names or shapes, in the order of a "
        "network's layers\n = help: `cnndsl weights check NET FILE` tells whose they are",
    ),
    Code(
        code="E0408",
        title="the Darknet file is another network's",
        explanation="""A Darknet file is a row of values, which the network's layers take in their order, and it must
            end where the last layer does. With too few or too many values some layer is another one there: its filters,
            window, groups or batch norm. Files that training begins with have the first layers alone. A convolution
            without a bias or batch norm, or a batch norm without scale and shift, cannot be in such a file.""",
        message="error[E0408]: yolo.weights has 1,000 values, and Darknet19 needs 20,842,376: 20,841,376 too few\n"
        " = note: it ends within `conv2.weight` [64, 32, 3, 3], with 8 of its 18,432 values",
    ),
    Code(
        code="E0411",
        title="the picture cannot be read",
        explanation="""The file is missing, damaged, no picture, larger than 2^27 pixels, or holds 32-bit values
            without a known range. BMP, GIF, JPEG, PNG, PPM, TIFF and WebP are read.""",
        message="error[E0411]: cannot read the picture notes.txt: it is not a picture",
    ),
    Code(
        code="E0412",
        title="the tensor cannot be read",
        explanation="""Tensors come as .npy, .npz or .pt. A file with several arrays must name one of them as the
            input is named, since nothing else tells which is meant.""",
        message="error[E0412]: cannot read the tensor x.npz: it holds 2 arrays (a, b), and none is named `image`",
    ),
    Code(
        code="E0413",
        title="the tensor does not fit the input",
        explanation="""A tensor given as input holds floating point values as [N, C, H, W], or [C, H, W] for one
            picture; [N, features] for a vector. Where only the order of the axes is another, the message says how
            to change it.""",
        message="error[E0413]: x.npy is [224, 224, 3], but the input image is [N, 3, 224, 224]\n"
        " = help: array.transpose(2, 0, 1)",
    ),
    Code(
        code="E0414",
        title="the labels do not fit",
        explanation="""`--labels` names a text file with one class in each line, as many as the network's output
            has. 1001 lines for 1000 classes usually begin with a background class.""",
        message="error[E0414]: labels.txt names 1,001 labels, but the network's output has 1,000",
    ),
    Code(
        code="E0415",
        title="the picture does not get the shape of the input",
        explanation="""Prepared as the `input` line says, the picture has another height or width than the input, or
            the input has neither 1 nor 3 channels. `crop` cuts the middle out, `resize=HxW` stretches.""",
        message="error[E0415]: cat.jpg (300x451) becomes 256x384, but the input is 224x224\n"
        " = help: write `crop=224` beside `resize`",
    ),
    Code(
        code="E0421",
        title="a file cannot be written",
        explanation="""The folder does not exist or may not be written to, the disk is full, or the name ends in a
            format that is not written: outputs are saved as .npz, weights as .safetensors, .pt, .pth or .npz,
            pictures of a network as .svg or .png.""",
        message="error[E0421]: cannot write out.txt: outputs are written as .npz",
    ),
    Code(
        code="E0422",
        title="the folder is taken",
        explanation="""`cnndsl build -o DIR` writes a new folder, or replaces one that it has written before. DIR is a
            file, or a folder with files that did not come from a build; they would lie between those of the network.
            Name another folder. With --force the network is written into that one, over files of the same names; no
            other file is touched.""",
        message="error[E0422]: cannot build into photos: it holds files that no build wrote, such as `cat.png`\n"
        " = help: name a folder that does not exist yet",
    ),
)
