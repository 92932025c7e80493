"""E05xx to E07xx: tensors passed to a network, the machine, the command line."""

from __future__ import annotations

from cnndsl.codes.code import Code

MACHINE = (
    Code(
        code="E0501",
        title="an input of the wrong shape",
        explanation="""A network takes [n, C, H, W] (torch's order: batch, channels, height, width), or [n,
            features], of any batch n; several inputs have one batch in common. Where a batch is missing or the
            channels stand last, the message says what to pass.""",
        message="error[E0501]: input `image` must be [n, 3, 227, 227], got [3, 227, 227]\n"
        " = help: the batch is missing: pass x[None]",
    ),
    Code(
        code="E0502",
        title="an input of the wrong type",
        explanation="""A network computes in the type that it was compiled for, and takes dense torch tensors of
            that type: nothing is converted behind your back. Convert the input, or compile with another dtype.""",
        message="error[E0502]: input `image` is torch.float64, but this network was compiled for torch.float32\n"
        " = help: pass x.to(torch.float32)",
    ),
    Code(
        code="E0503",
        title="the wrong device",
        explanation="""A compiled network belongs to the device that it was compiled for. Move the input there, or
            compile for the input's device; moving or casting the compiled network itself is not possible.""",
        message="error[E0503]: input `image` is on cpu, but this network was compiled for cuda:0",
    ),
    Code(
        code="E0505",
        title="the wrong number of inputs",
        explanation="""A network is called with one tensor for each of its `input` lines, in their order:
            `net(left, right)`.""",
        message="error[E0505]: Net takes 2 inputs (left [n, 3, 64, 64], right [n, 3, 64, 64]), got 1",
    ),
    Code(
        code="E0601",
        title="torch or Triton is missing",
        explanation="""Running a network needs PyTorch and Triton; Triton has packages for Linux alone. `check`,
            `summary` and `inspect` work without them.""",
        message="error[E0601]: running a network needs Triton, which is not installed",
    ),
    Code(
        code="E0602",
        title="no such device",
        explanation="""Networks run on cpu, in Triton's interpreter, and on cuda with a GPU of compute capability
            8.0 or more. Either the name is another, or PyTorch finds no such GPU.""",
        message="error[E0602]: PyTorch finds no GPU here\n"
        " = help: --device cpu runs the same kernels in Triton's interpreter",
    ),
    Code(
        code="E0603",
        title="Triton is set up for another device",
        explanation="""Triton chooses between GPU and interpreter when it is first imported, for the life of the
            process. Something imported it for the other one before. Set or unset TRITON_INTERPRET before, or use a
            process for each.""",
        message="error[E0603]: this process has Triton set up for GPUs already",
    ),
    Code(
        code="E0604",
        title="a type that networks do not run in",
        explanation="""Networks run in fp32 (IEEE), tf32, fp16 and bf16, always with fp32 accumulation. The
            reference, net.reference(x), runs in fp64 too.""",
        message="error[E0604]: networks do not run in torch.float64",
    ),
    Code(
        code="E0605",
        title="memory is used up",
        explanation="""The network's tensors do not fit into the memory of the GPU or the machine. A smaller batch
            or a 16-bit type takes less; `cnndsl summary` prints what each layer needs.""",
        message="error[E0605]: memory is used up",
    ),
    Code(
        code="E0606",
        title="the cache cannot be used",
        explanation="""Compiling writes a small Python package into a cache folder and imports it; compiled kernels are
            kept there too. That folder cannot be written, or not be read; set CNNDSL_CACHE to one that can.""",
        message="error[E0606]: cannot write the compiled network to /cache/packages: Permission denied",
    ),
    Code(
        code="E0611",
        title="a kernel cannot be specialised",
        explanation="""The compiler writes each layer's numbers into the text of an ordinary Triton kernel. That text
            may use assignments, `if`, `for` over a range, calls and arithmetic; the message points at what is more
            than that, at a constant that cannot be computed, or at a static_assert that does not hold.""",
        message="error[E0611]: a kernel that is specialised can do without While\n"
        " --> kernels/conv2d.py:70:5",
    ),
    Code(
        code="E0612",
        title="a kernel cannot be compiled",
        explanation="""Triton could not compile a kernel for the target, and says why: usually the kernel needs more
            than the machine has, or this version of Triton has a mistake. Other targets, types and batch sizes lead to
            other kernels; an unchanged kernel that does not compile is a mistake in cnndsl, so please report it.""",
        message="error[E0612]: conv1 cannot be compiled for sm_90\n"
        " = note: OutOfResources: out of resource: shared memory",
    ),
    Code(
        code="E0621",
        title="a file that cannot be a layer's kernel",
        explanation="""A kernel is put into a network with `kernels={"conv2": "my_conv.py"}` or `--kernel
            conv2=my_conv.py`. The file must be Python in UTF-8, with the function `launch` that `cnndsl eject` wrote
            for that layer: its parameters are what the network passes. The strides and sizes in a kernel's text are
            those of one place in one network; a file that says it was ejected for another shape, memory layout or type
            is refused before it runs.""",
        message="error[E0621]: my_conv.py was ejected for another place: its kernel cannot be that of conv2\n"
        " = note: it computes in fp16, this network in fp32",
    ),
    Code(
        code="E0622",
        title="an edited kernel that is wrong",
        explanation="""Before a network uses a kernel of yours, it runs it on random inputs and compares the result
            with torch in fp64: when the network is compiled, and again for every batch size that it has not met. This
            one gives other values, leaves some unwritten, writes outside of its output, or fails. The network was
            not run. That happens in a process of its own, so that a kernel that crashes does no harm.

            `python my_conv.py --n 2` makes the same comparison.""",
        message="error[E0622]: my_conv.py does not compute what conv2 does, with 1 picture\n"
        " = note: it leaves 128 of 4,096 values unwritten: the first is y[0, 0, 15, 0]",
    ),
    Code(
        code="E0623",
        title="a layer without a kernel of its own",
        explanation="""`cnndsl eject` and `kernels={...}` take a layer that one kernel computes. Dropout and others
            cost nothing and have none; a sum of three arms takes two, one after the other; a line may stand for
            several layers. `cnndsl inspect FILE --stage groups` shows the layers of each kernel.""",
        message="error[E0623]: drop6 has no kernel of its own\n"
        " = note: drop6 (dropout): does nothing at inference",
    ),
    Code(
        code="E0701",
        title="--set cannot be read",
        explanation="""`--set name=value` takes a value of the language: a number, `true` or `false`, a word or
            string, a tuple or a size, as in `--set classes=10 --set kernel=3x3`. Quote what the shell would take
            for itself.""",
        message="error[E0701]: cannot read --set classes: there is no `=`",
    ),
    Code(
        code="E0702",
        title="which input?",
        explanation="""A network with several inputs needs a file for each, by name: `cnndsl run net.cnn
            left=a.png right=b.png`.""",
        message="error[E0702]: Net has 2 inputs: give each as name=path",
    ),
    Code(
        code="E0703",
        title="no such target",
        explanation="""Sources are written for `interpreter`, or for a GPU by its architecture: `sm_80` (A100),
            `sm_90` (H100, H200) and so on. No such GPU needs to be in this machine.""",
        message="error[E0703]: there is no target `sm_70`",
    ),
    Code(
        code="E0704",
        title="no such error code",
        explanation="""Error codes are an E and four digits, as printed in front of each message: `error[E0304]`.
            `cnndsl explain` without a code lists all of them.""",
        message="error[E0704]: there is no error code E9999",
    ),
    Code(
        code="E0705",
        title="Triton does not compile for the target",
        explanation="""PTX, SASS and figures come from the installed Triton, which has a list of architectures of
            its own. A newer Triton knows newer GPUs. For the interpreter there is nothing to compile: it runs the
            sources.""",
        message="error[E0705]: the installed Triton cannot compile for sm_120\n"
        " = note: Triton 3.6.0: it compiles for sm_80, sm_86, sm_89, sm_90 and sm_100",
    ),
    Code(
        code="E0706",
        title="the size of the cache cannot be read",
        explanation="""CNNDSL_CACHE_SIZE is the space that compiled kernels may take, in MiB; 1024 without it.
            `cnndsl cache` shows how much they take.""",
        message="error[E0706]: CNNDSL_CACHE_SIZE is `1G`, which is no size",
    ),
    Code(
        code="E0707",
        title="no such layer or line",
        explanation="""`cnndsl inspect FILE LAYER` takes a layer's name as `cnndsl summary` prints it, the name of a
            kernel, a label, or the path that several layers stand under; or a line on which a layer or the call of a
            block stands: `10` in FILE itself, `blocks.cnn:10` in a file that it uses.""",
        message="error[E0707]: there is no layer, kernel, label or line `conv22`\n = help: did you mean `conv2`?",
    ),
    Code(
        code="E0708",
        title="the target does not have that stage",
        explanation="""NVIDIA's GPUs have PTX and SASS, AMD's have amdgcn. The interpreter has nothing but the sources,
            which it runs as they are.""",
        message="error[E0708]: sm_90 has no amdgcn\n = note: its stages are source, ttir, ttgir, llir, ptx, sass and "
        "resources",
    ),
    Code(
        code="E0709",
        title="what to compare with?",
        explanation="""`--diff` takes a target (`--diff sm_80`), a type (`--diff fp32`) or another network (`--diff
            other.cnn`, `--diff net.cnn:Other`).""",
        message="error[E0709]: cannot compare with `sm80`: it is no target, type or file\n = help: did you mean "
        "`sm_80`?",
    ),
)
