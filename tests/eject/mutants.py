"""One-character mutations of kernels, checked in a process of its own, as a script: some of them crash it.

``python mutants.py FOLDER FIRST``: of each ``FOLDER/<number>.py`` from FIRST on, a line with the number and what the
check of ``FOLDER/check`` says for 1, 2 and 3 pictures; "silent" is what no check may ever lead to.
"""

from __future__ import annotations

import io
import random
import signal
import sys
import tokenize
from pathlib import Path
from typing import Any

SECONDS = 60
"""A mutation may run for ever. Nobody waits for that; a network would not have run either."""


def mutant(text: str, rng: random.Random) -> str:
    """The file with one character of its kernel's code changed: no comment, no docstring, no white space."""
    tokens = [
        t for t in tokenize.generate_tokens(io.StringIO(text).readline)
        if t.type in {tokenize.NAME, tokenize.NUMBER, tokenize.OP}
    ]
    first = next(t.start for t in tokens if t.string == "@")
    last = text[:text.index("# ====")].count("\n")
    # Numbers and operators are what makes a kernel subtly wrong; most changes of a name are no program.
    code = [t for t in tokens if first <= t.start and t.end[0] <= last]
    weights = {tokenize.NAME: 1, tokenize.NUMBER: 6, tokenize.OP: 3}
    token = rng.choices(code, [weights[t.type] for t in code])[0]
    lines = text.splitlines(keepends=True)
    row, column = token.start[0] - 1, rng.randrange(token.start[1], token.end[1])
    kinds = {tokenize.NAME: "abcdhknpqrswxyz_", tokenize.NUMBER: "0123456789", tokenize.OP: "+-*/%<>=&|~^"}
    new = rng.choice(kinds[token.type].replace(lines[row][column], "") + "\0")
    lines[row] = lines[row][:column] + new.replace("\0", "") + lines[row][column + 1 :]
    return "".join(lines)


def outcome(folder: Path, path: Path) -> str:
    from cnndsl.eject import worker

    item = {"kernel": str(path), "check": str(folder / "check")}
    for n in (1, 2, 3):
        found = worker._finding(item, n, "cpu")
        if found["kind"] != "right":
            return str(found["kind"])
    # What its network would do: other values of other sizes.
    for seed, spread in ((100, 1.0), (200, 0.1), (300, 5.0)):
        if error(folder, path, seed, spread) > tolerance(folder):
            return "silent"
    return "right"


def space_of(folder: Path) -> dict[str, Any]:
    import torch

    space: dict[str, Any] = {"torch": torch, "F": torch.nn.functional, "Any": Any}
    exec("import inspect, warnings", space)
    exec((folder / "check").read_text(), space)
    return space


def tolerance(folder: Path) -> float:
    return float(space_of(folder)["TOLERANCE"])


def error(folder: Path, path: Path, seed: int, spread: float) -> float:
    """The relative error for 3 pictures, as `verify` computes it, of inputs of another size."""
    from cnndsl.eject import worker
    from cnndsl.runtime.verify import relative_error

    space = space_of(folder)
    launch, make = worker._module(path).launch, space["make_inputs"]
    inputs = make(3, "cpu", seed, **space["CASES"][-1])
    for t in inputs[: len([name for name in space["LAYER"]["tensors"] if name != "y"])]:
        t.mul_(spread)
    y = space["empty_output"](3, "cpu")[1].view(space["DTYPE"])
    launch(*space["arguments"](*inputs, y))
    return relative_error(y, space["reference"](*(t.double() for t in inputs)))


def main() -> None:
    import os

    os.environ["TRITON_INTERPRET"] = "1"
    import numpy as np
    import torch

    torch.set_num_threads(1)
    folder, first = Path(sys.argv[1]), int(sys.argv[2])

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    with np.errstate(all="ignore"):
        for number in range(first, len(list(folder.glob("*.py")))):
            signal.alarm(SECONDS)
            try:
                said = outcome(folder, folder / f"{number}.py")
            except TimeoutError:
                said = "raised"
            signal.alarm(0)
            sys.stdout.write(f"{number} {said}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
