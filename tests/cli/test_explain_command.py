"""``cnndsl explain``."""

import subprocess
import sys


def test_explain(run) -> None:
    result = run("explain", "E0304")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "E0304" in result.stdout
    assert run("explain", " e0304").stdout == result.stdout


def test_explain_lists_the_codes(run) -> None:
    lines = run("explain").stdout.splitlines()
    codes = [line.split()[0] for line in lines]
    assert codes == sorted(set(codes))
    assert {"E0101", "E0304", "E0701"} <= set(codes)
    assert all(len(line.split()) > 1 for line in lines)


def test_explain_unknown(run) -> None:
    result = run("explain", "E9999")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "E9999" in result.stderr


def test_explain_imports_nothing_slow() -> None:
    program = """
import sys
from cnndsl.cli import cli
cli.main(["explain", "E0304"], standalone_mode=False)
cli.main(["explain"], standalone_mode=False)
slow = {"torch", "triton", "numpy", "PIL", "rich", "lark"} & set(sys.modules)
assert not slow, slow
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
