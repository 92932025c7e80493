"""One character of a kernel changed anywhere: the network gives what it should, or an error, and nothing else."""

import collections
import os
import random
import subprocess
import sys
from pathlib import Path

import mutants
import pytest
import torch
from here import Checks
from kinds import all_facts, made, text_of

import cnndsl
from cnndsl.eject.source import check_source
from cnndsl.errors import CnnError
from cnndsl.runtime.verify import TOLERANCES, relative_error

NET = """network Net { input image [6x5x3] first: conv(4, 3x3, pad=1) -> relu6
    second: conv(6, 3x3, stride=2) -> add { {} { tanh } } last: maxpool(2x2) }"""
COUNT = 40


@pytest.mark.skipif(torch.cuda.is_available(), reason="a wrong kernel on a GPU stops it for the whole process")
def test_mutants_are_right_or_refused(tmp_path: Path, here: Checks) -> None:
    package = made(NET)
    (facts,) = [f for f in all_facts(package) if f.kernel == "first"]
    text, rng = text_of(package, facts), random.Random(3)
    (tmp_path / "check").write_text(check_source(facts), encoding="utf-8")
    for number in range(COUNT):
        (tmp_path / f"{number}.py").write_text(mutants.mutant(text, rng), encoding="utf-8")
    found: list[str] = []
    while len(found) < COUNT:
        done = subprocess.run(
            [sys.executable, mutants.__file__, str(tmp_path), str(len(found))],
            capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        found += [line.split()[1] for line in done.stdout.splitlines()]
        assert done.returncode <= 0, done.stderr
        if len(found) < COUNT:
            found.append("crashed")
    counts = collections.Counter(found)
    assert counts["silent"] == 0
    assert min(counts["right"], counts["wrong"], counts["raised"]) > 0, counts
    # In the network, which is told nothing of all that. What crashed there would crash a process of its own.
    survivors = [number for number, said in enumerate(found) if said == "right"][:4]
    refused = [found.index("wrong"), found.index("raised")]
    x = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    for number in (*survivors, *refused):
        kernels = {"first": tmp_path / f"{number}.py"}
        if number in refused:
            with pytest.raises(CnnError, match=r"E062[12]"):
                cnndsl.compile(NET, device="cpu", kernels=kernels)
            continue
        try:
            net = cnndsl.compile(NET, device="cpu", kernels=kernels)
            error = relative_error(net(x), net.reference(x.double()))
        except CnnError:
            continue
        assert error <= TOLERANCES["fp32"]
