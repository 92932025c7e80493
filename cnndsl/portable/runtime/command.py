"""The command line of the network in this folder."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .about import About, Input, read_about
from .mistakes import Mistake, Unfit, Unreadable, reason_of

if TYPE_CHECKING:
    import torch

    from .loading import Network

FOLDER = Path(__file__).resolve().parent.parent

MAX_LABELS_BYTES = 16 << 20
"""ImageNet-22k's labels with all their synonyms take 1 MB."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status: 0 all is well, 1 something that was given is wrong, 2 the command is."""
    about = read_about(FOLDER)
    options = _parser(about).parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        reconfigure: Callable[..., None] | None = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")  # a file's name may hold bytes that are no text
    try:
        _run(about, options)
        sys.stdout.flush()
    except Mistake as mistake:
        return _complain(mistake.message, *mistake.help)
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in {"torch", "triton", "PIL", "numpy"}:
            raise
        package = {"PIL": "pillow"}.get(name, name)
        reading = ", to read pictures" if name == "PIL" else ""
        return _complain(f"this needs {package}{reading}, which is not installed", f"pip install {package}")
    except BrokenPipeError:
        sys.stderr.close()  # Python would flush and complain again
        return 141
    except KeyboardInterrupt:
        return _complain("interrupted") and 130
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        return _complain("memory is used up", "run fewer pictures at a time")
    return 0


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether memory was used up: torch has a type of its own for GPUs alone."""
    known = {"OutOfMemoryError"} & {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, MemoryError) or bool(known) or "can't allocate memory" in str(error)


def _parser(about: About) -> argparse.ArgumentParser:
    program = f"python {FOLDER.name}" if " " not in FOLDER.name else f"python '{FOLDER.name}'"
    shapes = ", ".join(f"{i.name} [{'x'.join(map(str, i.shape))}]" for i in about.inputs)
    parser = argparse.ArgumentParser(
        prog=program,
        description=f"Run {about.network} in {about.dtype}, compiled by cnndsl for {_targets(about)}.",
        epilog=f"""INPUT is a picture, or a tensor as .safetensors, .npy or .pt: channels, height, width, with the
        batch in front or without. Several INPUTs are one batch; a network of several inputs takes NAME=INPUT.
        Inputs: {shapes}. Without INPUT, random numbers are the input. Results go to standard output, all else to
        standard error.""",
    )
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="a picture or a tensor")
    parser.add_argument("--device", default="auto", help="auto (the default: a GPU where one fits), cpu or cuda")
    parser.add_argument("--top", type=_positive, default=5, metavar="K", help="classes to show (default: 5)")
    parser.add_argument("--labels", type=Path, metavar="F", help="a text file with a class's name on each line")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of a random input (default: 0)")
    parser.add_argument("--save", type=Path, metavar="OUT", help="write the outputs: .safetensors, .npy or .pt")
    parser.add_argument("--json", action="store_true", help="print JSON for tools")
    return parser


def _targets(about: About) -> str:
    return ", ".join(target.name for target in about.targets)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return value


def _run(about: About, options: argparse.Namespace) -> None:
    # What is wrong with the command comes before the seconds that loading takes.
    labels = _labels(options.labels, about) if options.labels is not None else None
    if options.save is not None:
        _check_save(options.save, about)
    import torch

    from . import loading

    tensors, names = _inputs(about, options)
    device, target, note = loading.choose(about, options.device)
    if note is not None:
        _say(note)
    net = loading.Network(about, target, device)
    started = time.perf_counter()
    outputs = net.run(*(x.to(net.device, net.dtype) for x in tensors), progress=_progress())
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    where = "Triton's interpreter on the CPU" if target.kind == "interpreter" else f"{device} ({target.name})"
    pictures = "1 picture" if len(names) == 1 else f"{len(names)} pictures"
    _say(f"{about.network} in {about.dtype} by {where}: {pictures} in {seconds:.2f} s, preparations included")
    outputs = {name: y.cpu() for name, y in outputs.items()}
    if options.save is not None:
        from .tensors import save_tensors

        save_tensors(options.save, outputs)
        _say(f"outputs written to {options.save}")
    results = _results(about, outputs, names, top=options.top, labels=labels)
    if options.json:
        found = _description(net, seconds) | {"random_input": not options.inputs, "outputs": results}
        sys.stdout.write(json.dumps(found, indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write("\n".join(_text(results)) + "\n")


def _description(net: Network, seconds: float) -> dict[str, Any]:
    return {
        "network": net.about.network,
        "device": str(net.device),
        "target": net.target.name,
        "dtype": net.about.dtype,
        "seconds": round(seconds, 6),
    }


def _progress() -> Callable[[int, int, str], None] | None:
    """One line on a terminal that says which layers are being computed."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int, what: str) -> None:
        line = f"[{done}/{total}] {what}"[:78] if done < total else ""
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

    return show


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _complain(message: str, *hints: str) -> int:
    _say(f"error: {message}")
    for hint in hints:
        _say(f"  help: {hint}")
    return 1


# --- inputs ----------------------------------------------------------------------------------------


def _inputs(about: About, options: argparse.Namespace) -> tuple[tuple[torch.Tensor, ...], list[str]]:
    """A tensor for each input, [n, C, H, W] or [n, features], and the names of the n pictures."""
    import torch

    if not options.inputs:
        generator = torch.Generator().manual_seed(options.seed)
        return tuple(torch.randn(1, *i.torch_shape, generator=generator) for i in about.inputs), ["random input"]
    given = _by_input(about.inputs, options.inputs)
    read = [[_load(path, each) for path in given[each.name]] for each in about.inputs]
    tensors = tuple(torch.cat(parts) for parts in read)
    if len({len(x) for x in tensors}) > 1:
        listed = ", ".join(f"`{each.name}` has {len(x)}" for each, x in zip(about.inputs, tensors, strict=True))
        raise Unfit(f"the inputs have different numbers of pictures: {listed}")
    names = []
    for path, part in zip(given[about.inputs[0].name], read[0], strict=True):
        names += [path] if len(part) == 1 else [f"{path}[{i}]" for i in range(len(part))]
    return tensors, names


def _by_input(inputs: tuple[Input, ...], given: list[str]) -> dict[str, list[str]]:
    """The paths for each input: ``path``, or ``name=path`` where there are several."""
    found: dict[str, list[str]] = {each.name: [] for each in inputs}
    way = f"write {' '.join(f'{name}=FILE' for name in found)}"
    for text in given:
        name, equals, path = text.partition("=")
        if equals and name in found and not Path(text).exists():
            found[name].append(path)
        elif len(inputs) == 1:
            found[inputs[0].name].append(text)
        else:
            raise Unfit(f"the network has {len(inputs)} inputs; which one is {text}?", help=(way,))
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        raise Unfit(f"no file is given for {', '.join(missing)}", help=(way,))
    return found


def _load(given: str, each: Input) -> torch.Tensor:
    """One file as [n, C, H, W] or [n, features] in fp32."""
    from .tensors import SUFFIXES, load_tensor, regular_file

    path = Path(given)
    if path.suffix.lower() in SUFFIXES:
        return _as_batch(load_tensor(path, key=each.name), each, given)
    if len(each.shape) != 3:
        raise Unfit(f"input `{each.name}` is a vector, which no picture becomes", help=(_ways(),))
    regular_file(path, "picture")
    from .pictures import load_picture

    height, width, channels = each.shape
    return load_picture(path, shape=(height, width, channels), **each.picture).unsqueeze(0)


def _ways() -> str:
    from .tensors import SUFFIXES

    return f"give it as a tensor ({', '.join(SUFFIXES)})"


def _as_batch(tensor: torch.Tensor, each: Input, source: str) -> torch.Tensor:
    """A tensor of a file as a batch in fp32; a single input without the batch is a batch of one."""
    have, want = tuple(tensor.shape), each.torch_shape
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        raise Unfit(f"{source} has elements of type {kind}, not a float type", help=("write it as float32",))
    if have == want:
        tensor = tensor.unsqueeze(0)
    if tuple(tensor.shape[1:]) != want or tensor.ndim == 0:
        hints: tuple[str, ...] = ()
        if len(each.shape) == 3 and have[-3:] == each.shape:
            hints = ("it is in the order height, width, channels; channels come first here",)
        raise Unfit(f"{source} is {list(have)}, but input `{each.name}` is {each.shown}", help=hints)
    if len(tensor) == 0:
        raise Unfit(f"{source} is {list(have)}, which is an empty batch")
    return tensor.float()


# --- results ---------------------------------------------------------------------------------------


def _check_save(path: Path, about: About) -> None:
    from .tensors import SUFFIXES

    if path.suffix.lower() not in SUFFIXES:
        raise Unfit(f"cannot write {path}: outputs are written as {', '.join(SUFFIXES)}")
    if path.suffix.lower() == ".npy" and len(about.outputs) > 1:
        count = len(about.outputs)
        raise Unfit(f"cannot write {path}: a .npy file holds one array, and there are {count} outputs")


def _labels(path: Path, about: About) -> list[str]:
    """The names of the classes, one a line."""
    main = next((o for o in about.outputs if o.name == "main"), about.outputs[0])
    if not main.is_vector:
        raise Unfit("--labels names classes, but the network's output is a feature map")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_LABELS_BYTES + 1)
        labels = [" ".join(line.split()) for line in content.decode("utf-8-sig").rstrip().splitlines()]
    except UnicodeDecodeError:
        raise Unreadable(f"cannot read the labels {path}: it is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot read the labels {path}: {reason_of(error)}") from None
    if len(labels) != main.shape[-1]:
        raise Unfit(f"{path} names {len(labels):,} labels, but the network's output has {main.shape[-1]:,}")
    return ["".join(c if c.isprintable() else "?" for c in label) for label in labels]


def _results(
    about: About, outputs: dict[str, torch.Tensor], names: list[str], *, top: int, labels: list[str] | None
) -> list[dict[str, Any]]:
    """For each picture and output the best classes, or the range of a feature map."""
    found = []
    for number, name in enumerate(names):
        for each in about.outputs:
            y = outputs[each.name][number].float().flatten()
            own = labels if labels is not None and len(labels) == len(y) else None
            what = {"top": _best(y, each.values, top=top, labels=own)} if each.is_vector else _range(y)
            found.append({
                "input": name, "output": each.name, "values": each.values, "shape": list(each.shape), **what,
                "not_finite": int((~y.isfinite()).sum()),
            })  # fmt: skip
    return found


def _best(y: torch.Tensor, values: str, *, top: int, labels: list[str] | None) -> list[dict[str, Any]]:
    """The greatest of y [classes], each with its class."""
    shares = y.softmax(0) if values == "score" and len(y) > 1 else None
    best = []
    for index in y.topk(min(top, len(y))).indices.tolist():
        row: dict[str, Any] = {"class": index, values: _finite(float(y[index]))}
        if shares is not None:
            row["softmax"] = _finite(float(shares[index]))
        if labels is not None:
            row["label"] = labels[index]
        best.append(row)
    return best


def _range(y: torch.Tensor) -> dict[str, Any]:
    finite = y[y.isfinite()]
    if not len(finite):
        return dict.fromkeys(("min", "max", "mean"))
    return {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean())}


def _finite(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return value if math.isfinite(value) else None


def _text(results: list[dict[str, Any]]) -> list[str]:
    several = len({result["output"] for result in results}) > 1
    lines: list[str] = []
    for result in results:
        title = result["input"] + (f", output {result['output']}" if several else "")
        lines += ["".join(c if c.isprintable() else "?" for c in title)]
        if "top" in result:
            lines += _table(result["top"])
        else:
            shape = "x".join(map(str, result["shape"]))
            numbers = "  ".join(f"{k} {_shown(result[k])}" for k in ("min", "max", "mean"))
            lines.append(f"  [{shape}]  {numbers}")
        if result["not_finite"]:
            lines.append(f"  warning: {result['not_finite']} values are not finite (NaN or infinite)")
    return lines


def _table(rows: list[dict[str, Any]]) -> list[str]:
    heads = list(rows[0])
    texts = [heads, *([_shown(row[head]) for head in heads] for row in rows)]
    widths = [max(len(line[i]) for line in texts) for i in range(len(heads))]
    return [
        "  " + "  ".join(t if head == "label" else t.rjust(w) for head, t, w in zip(heads, line, widths, strict=True))
        for line in texts
    ]


def _shown(value: object) -> str:
    if value is None:
        return "nan or inf"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
