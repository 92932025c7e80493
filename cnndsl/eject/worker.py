"""The check of kernels that somebody has edited, in a process of its own: a wrong one may write anywhere, and crash.

Run as a script with the path of a job: JSON with the device, the file to write findings to, and for each kernel its
file, the file of its check and the numbers of pictures. It needs torch and triton, and nothing of cnndsl. Findings
are JSON, one a line, written as they come; the last line before a crash says what was begun.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_SHOWN = 12
"""Lines of an exception's text that are passed on; Triton's compiler prints pages."""


def findings(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What is found, kernel by kernel and size by size."""
    import torch

    if job["device"].startswith("cuda"):
        torch.cuda.set_device(torch.device(job["device"]))
    for item in job["kernels"]:
        for n in item["n"]:
            base = {"kernel": item["kernel"], "n": n}
            yield base | {"kind": "begun"}
            found = _finding(item, n, job["device"])
            yield base | found
            if found["kind"] == "raised" and job["device"] != "cpu":
                return  # after a failed launch nothing on a GPU can be relied on
            if found["kind"] != "right":
                break


def _finding(item: dict[str, Any], n: int, device: str) -> dict[str, Any]:
    import triton
    import triton.language as tl
    from torch.nn import functional

    check = Path(item["check"])
    # The names that stand above the check in a file.
    space: dict[str, Any] = {"__name__": "check", "triton": triton, "tl": tl, "F": functional}
    exec("import argparse, inspect, os, sys, warnings\nfrom typing import Any\nimport torch", space)  # noqa: S102
    exec(compile(check.read_text(encoding="utf-8"), str(check), "exec"), space)  # noqa: S102 - our own text
    try:
        space["launch"] = _module(Path(item["kernel"])).launch
        return {"kind": "right", "error": space["check"](n, device)}
    except space["Wrong"] as wrong:
        return {"kind": "wrong", "text": str(wrong)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - it is somebody's program: it may raise anything, and exit
        return {"kind": "raised", "text": _said(error), "line": _line(error, item["kernel"])}


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # As an import does: dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _said(error: BaseException) -> str:
    """The first of the exceptions that led to this one, as text: the interpreter wraps them."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.rstrip()[:300] for line in f"{type(error).__name__}: {error}".splitlines() if line.strip()]
    return "\n".join(lines[:_SHOWN])


def _line(error: BaseException | None, file: str) -> int | None:
    """The last line of the file that an exception came through."""
    while error is not None:
        own = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        if own and error.__cause__ is None:
            return own[-1]
        error = error.__cause__ or error.__context__
    return None


def main() -> None:
    """Do the job that the command line names."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    with open(job["findings"], "w", encoding="utf-8") as out:
        for finding in findings(job):
            out.write(json.dumps(finding) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
