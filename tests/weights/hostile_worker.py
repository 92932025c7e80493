"""Reads files named on the command line with little memory to spare; prints what became of each, as JSON.

A process of its own, since the limit holds for all of one: 256 MiB beyond what it has when all is imported.
"""

import json
import resource
import sys
from pathlib import Path

import torch

from cnndsl.errors import CnnError
from cnndsl.files import load_text
from cnndsl.passes.elaborate import elaborate
from cnndsl.runtime.parameters import specs_of
from cnndsl.weights.matching import pair
from cnndsl.weights.reading import open_weights

SPARE = 256 << 20


def main(text: str, paths: list[str]) -> None:
    program = load_text(text)
    graph = elaborate(program, next(iter(program.networks.values())))
    torch.ones(3).double().isnan().sum()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + SPARE
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in paths:
        found = {"path": path, "code": "", "message": ""}
        try:
            contents = open_weights(path, graph)
            pair(specs_of(graph), contents.tensors, source=path).load(path)
        except CnnError as error:
            first = error.diagnostics[0]
            found |= {"code": first.code, "message": first.message}
        found["grown"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
