"""Worker processes, from the side of the one that starts them."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import cnndsl
from cnndsl.compiler import installation
from cnndsl.errors import problem

_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from cnndsl.compiler.worker import main; main()"
_ROOT = Path(cnndsl.__file__).parent.parent
_SHOWN = 8
"""Lines of a worker's complaints that are passed on."""


class _Worker:
    """One process. It is at work on the request called `tag`, if that is not None."""

    def __init__(self, folder: Path, number: int) -> None:
        with contextlib.ExitStack() as on_failure:
            self.log: IO[bytes] = on_failure.enter_context((folder / f"worker-{number}.log").open("w+b"))
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-c", _PROGRAM, str(_ROOT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.log,
                env=installation.environment() | {"TMPDIR": str(folder)},
                # Not in our group: Ctrl-C is for us alone, who then end all of its group, ptxas too.
                process_group=0,
            )
            on_failure.pop_all()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout
        self.ready = False
        self.tag: str | None = None
        self._begun = 0
        self._received = b""

    def send(self, tag: str, request: Mapping[str, Any]) -> None:
        """Give it a request."""
        self.tag, self._begun = tag, os.fstat(self.log.fileno()).st_size
        with contextlib.suppress(BrokenPipeError):  # it is dead, as the end of its output will tell
            self.input.write(json.dumps(request).encode() + b"\n")
            self.input.flush()

    def receive(self) -> list[dict[str, Any]] | None:
        """What has come from it; None when it has ended."""
        data = os.read(self.output.fileno(), 1 << 16)
        if not data:
            return None
        *lines, self._received = (self._received + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def complaints(self) -> str:
        """The telling lines of what was written to stderr since the last request."""
        text = os.pread(self.log.fileno(), 1 << 24, self._begun).decode("utf-8", "replace")
        lines = [line.rstrip()[:300] for line in text.splitlines() if line.strip()]
        # With an error MLIR prints the whole module that it happened in.
        telling = list(dict.fromkeys(line for line in lines if "error:" in line.lower()))
        return "\n".join(telling[:_SHOWN] or lines[-_SHOWN:])

    def end(self) -> None:
        """End it and all that it started, now."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.input, self.output, self.log):
            with contextlib.suppress(OSError):  # what a dead process did not read
                stream.close()


class Pool:
    """As many workers as are needed, `size` at most. Leaving it ends them at once, whatever they are doing."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._workers: list[_Worker] = []
        self._started = 0
        self._selector = selectors.DefaultSelector()
        self._folder = tempfile.TemporaryDirectory(prefix="cnndsl-compile-", ignore_cleanup_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for worker in self._workers:
                worker.end()
        finally:
            self._selector.close()
            self._folder.cleanup()

    def run(self, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the reply to each request under the request's name, in the order in which they come.

        Requests are taken one by one, as workers become free. One whose worker dies has ``{"error": ...}`` for a
        reply, and another worker takes its place. Raises CnnError (E0601) when Triton cannot be imported.
        """
        waiting = iter(requests)
        has_more = True
        while True:
            while has_more and (len(self._workers) < self.size or any(w.tag is None for w in self._workers)):
                following = next(waiting, None)
                if following is None:
                    has_more = False
                else:
                    self._idle().send(*following)
            if all(w.tag is None for w in self._workers):
                return
            yield from self._replies()

    def _idle(self) -> _Worker:
        worker = next((w for w in self._workers if w.tag is None), None)
        if worker is None:
            worker = _Worker(Path(self._folder.name), self._started)
            self._started += 1
            self._workers.append(worker)
            self._selector.register(worker.output, selectors.EVENT_READ, worker)
        return worker

    def _replies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Wait until something comes, and yield what is a reply."""
        for key, _ in self._selector.select():
            worker: _Worker = key.data
            messages = worker.receive()
            if messages is None:
                reply = self._bury(worker)
                if worker.tag is not None:
                    yield worker.tag, reply
                continue
            for message in messages:
                if "ready" in message:
                    worker.ready = True
                elif "broken" in message:
                    raise _cannot_import(message["broken"])
                else:
                    tag, worker.tag = worker.tag, None
                    assert tag is not None
                    if "error" in message and (said := worker.complaints()):
                        message["error"] += f"\n{said}"
                    yield tag, message

    def _bury(self, worker: _Worker) -> dict[str, Any]:
        """Forget a worker that has ended; the reply that it did not give."""
        self._selector.unregister(worker.output)
        self._workers.remove(worker)
        said = worker.complaints()
        worker.end()
        if not worker.ready:
            raise _cannot_import(said or _ending(worker.process.returncode))
        return {"error": f"the compiler {_ending(worker.process.returncode)}" + (f"\n{said}" if said else "")}


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _cannot_import(reason: str) -> Exception:
    return problem(
        "E0601",
        "Triton is installed but cannot be imported",
        notes=tuple(line.strip() for line in reason.splitlines()[-3:]),
        help=("`python -c 'import triton'` shows the same",),
    )
