"""Times networks beside torch in one run: `python benchmarks/networks.py`; README.md explains the table."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NETWORKS = ["alexnet", "vgg16", "googlenet", "resnet18", "resnet50"]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=NETWORKS, help="examples' names, or paths")
    parser.add_argument("--batch", default="1,16,128", help="batch sizes (default: %(default)s)")
    parser.add_argument("--dtype", default="fp16", choices=("fp32", "tf32", "fp16", "bf16"))
    parser.add_argument("--device", default="cuda", help="cpu times Triton's interpreter: to try this script")
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--limit", type=float, help="seconds for one configuration (default: 120, with peers 900)")
    parser.add_argument("--peers", action="store_true", help="torch.compile in its three modes as well")
    parser.add_argument("--layers", action="store_true", help="times of single layers as well")
    parser.add_argument("--seed", type=int, default=None, help="of weights and inputs; fresh if not given")
    parser.add_argument("--out", type=Path, default=None, help="where to write everything as JSON")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.limit is None:
        given.limit = 900.0 if given.peers else 120.0  # max-autotune takes minutes
    return given


def child(request: str, out: str) -> None:
    """Measure in this process and write the result to a file."""
    import configuration  # imports torch: only the process that measures needs it

    asked = json.loads(request)
    if "network" in asked:
        result = configuration.measure(configuration.Request(**asked))
    else:
        result = configuration.measure_ceilings(**asked)
    Path(out).write_text(json.dumps(result), encoding="utf-8")


def measured(request: dict[str, Any], limit: float) -> dict[str, Any]:
    """What a process of its own finds; a crash, a hang or a wrong memory access ends that process alone."""
    start = time.perf_counter()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--child", json.dumps(request), str(out)]
        # Read when triton is first imported; anything else set there would not suit the device.
        environment = os.environ | {"TRITON_INTERPRET": "1" if request["device"] == "cpu" else "0"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=limit, env=environment
            )
            if done.returncode == 0:
                result = {"status": "ok", **json.loads(out.read_text(encoding="utf-8"))}
            else:
                result = {"status": "failed", "problem": (done.stdout + done.stderr)[-4000:]}
        except subprocess.TimeoutExpired:
            result = {"status": "failed", "problem": f"no result within {limit:.0f} s"}
    return {**request, **result, "seconds": round(time.perf_counter() - start, 1)}


def source_of(name: str) -> str:
    path = EXAMPLES / f"{name}.cnn"
    return str(path if path.exists() else Path(name).resolve())


# --- reports -----------------------------------------------------------------------------------------------


def verdict(entry: dict[str, Any]) -> str:
    """What went wrong in a configuration, or nothing."""
    if entry["status"] != "ok":
        return str(entry["problem"]).strip().splitlines()[-1]
    bad = [f"{n}: {c['status']}" for n, c in entry["contestants"].items() if c["status"] != "ok"]
    return ", ".join(bad)


def failed(entry: dict[str, Any]) -> bool:
    """Whether ours is missing or wrong."""
    if entry["status"] != "ok":
        return True
    return any(c["status"] != "ok" for n, c in entry["contestants"].items() if n.startswith("cnndsl"))


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side; the first to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join([first.strip().ljust(widths[0]), *others]))
    return "\n".join(lines)


def shown(contestant: dict[str, Any]) -> str:
    """The median, or what became of the contestant."""
    return f"{contestant['median_us']:.1f}" if "median_us" in contestant else contestant.get("status", "-")


def ratio(found: dict[str, Any], peer: str, own: str) -> str:
    """How many times as long the peer takes."""
    if "median_us" not in found.get(peer, {}) or "median_us" not in found.get(own, {}):
        return "-"
    return f"{found[peer]['median_us'] / found[own]['median_us']:.2f}x"


def report(entries: Sequence[dict[str, Any]]) -> str:
    """The short table: medians in microseconds, torch's over ours as a ratio."""
    names = list(dict.fromkeys(name for e in entries if e["status"] == "ok" for name in e["contestants"]))
    medians = [f"{name} us" for name in names]
    header = ["network", "batch", *medians, "torch/cnndsl", "graphs", "TFLOP/s", "limit", "error"]
    rows = [header]
    for entry in entries:
        if entry["status"] != "ok":
            rows.append([entry["network"], str(entry["batch"]), "failed", *[""] * (len(header) - 3)])
            continue
        found = entry["contestants"]

        best = min(
            (c for n, c in found.items() if n.startswith("cnndsl") and "median_us" in c),
            key=lambda c: c["median_us"], default=None,
        )  # fmt: skip
        errors = [c["relative_error"] for n, c in found.items() if n == "cnndsl" and "relative_error" in c]
        rows.append([
            entry["network"],
            str(entry["batch"]),
            *(shown(found.get(name, {})) for name in names),
            ratio(found, "torch", "cnndsl"),
            ratio(found, "torch graph", "cnndsl graph"),
            f"{best['tflops']:.1f}" if best else "-",
            f"{best['fraction_of_limit']:.0%}" if best else "-",
            f"{errors[0]:.1e}" if errors else "-",
        ])  # fmt: skip
    return table(rows)


def layer_report(entry: dict[str, Any]) -> str:
    """Where a configuration's time goes."""
    rows = [["layers", "us", "limit us", "share", "kernel"]]
    total = sum(layer["median_us"] for layer in entry["layer_times"])
    rows += [
        [
            layer["layers"], f"{layer['median_us']:.1f}", f"{layer['limit_us']:.1f}",
            f"{layer['median_us'] / total:.0%}", ", ".join(layer["kernels"]),
        ]
        for layer in entry["layer_times"]
    ]  # fmt: skip
    return f"\n{entry['network']}, batch {entry['batch']}\n{table(rows)}"


def main() -> int:
    given = arguments()
    if given.child is not None:
        child(*given.child)
        return 0
    start = time.perf_counter()
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(3))
    about = measured({"dtype": given.dtype, "device": given.device}, given.limit)
    if about["status"] != "ok":
        print(about["problem"], file=sys.stderr)
        return 1
    entries: list[dict[str, Any]] = []
    for name in given.networks:
        for batch in map(int, given.batch.split(",")):
            request = {
                "network": Path(name).stem, "source": source_of(name), "batch": batch, "dtype": given.dtype,
                "device": given.device, "seed": seed, "repetitions": given.repetitions,
                "seconds": max(5.0, given.limit / 4), "peers": given.peers, "layers": given.layers,
                "ceilings": about["ceilings"],
            }  # fmt: skip
            entries.append(measured(request, given.limit))
            note = f"{Path(name).stem} {batch}: {entries[-1]['seconds']} s  {verdict(entries[-1])}"
            print(note.rstrip(), file=sys.stderr, flush=True)
    result = {
        "machine": about["machine"], "ceilings": about["ceilings"], "dtype": given.dtype, "seed": seed,
        "configurations": entries, "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")
    on, most = about["machine"], about["ceilings"]
    print(
        f"{on.get('gpu', 'CPU (interpreter)')}, torch {on['torch']}, triton {on['triton']}, {given.dtype}; "
        f"copies {most['bytes_per_second'] / 1e12:.2f} TB/s, multiplies {most['flops'] / 1e12:.1f} TFLOP/s"
    )
    print(report(entries))
    for entry in entries:
        if entry["status"] == "ok" and entry["layer_times"] is not None:
            print(layer_report(entry))
    return 1 if any(map(failed, entries)) else 0


if __name__ == "__main__":
    sys.exit(main())
