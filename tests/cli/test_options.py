"""``--set``, usage errors and help."""

import re

import click
import pytest

from cnndsl.cli import cli
from cnndsl.cli.options import read_settings
from cnndsl.errors import CnnError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("-3", -3),
        ("0.5", 0.5),
        ("5e-4", 5e-4),
        ("true", True),
        ("false", False),
        ("3x5", (3, 5)),
        ("3x5x7", (3, 5, 7)),
        ("(0.5, 1)", (0.5, 1)),
        ("(1,)", (1,)),
        ('"a b"', "a b"),
        ("same", "same"),
        ("2*3+1", 7),
        (" 4 ", 4),
    ],
)
def test_values_are_the_languages(text: str, value: object) -> None:
    found = read_settings([f"name={text}"])["name"]
    assert (found, type(found)) == (value, type(value))


def test_the_last_one_counts() -> None:
    assert read_settings(["a=1", "b=2", "a=3"]) == {"a": 3, "b": 2}
    assert read_settings([]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "", "1,2", "1)", "1) {} network M(p=2", "1 # x", "1\n, q = 2", "3x", "3x_", "1,", "a b",
        "in.channels", "@a", "(1, (2, 3))", '(1, "a")', "True", "NONE", "yes", "1/0", "9" * 20, '"open', "{}",
        "\0", "1e999", "(" * 99, "1 } } network M { repeat 2 {", "1 {} } network M { repeat 2",
        "--set", "é", "1 {} repeat 2", "1 -> relu", "2 { relu } if true",
    ],
)
def test_what_is_no_value(text: str) -> None:
    with pytest.raises(CnnError) as caught:
        read_settings([f"name={text}"])
    (d,) = caught.value.diagnostics
    assert d.code == "E0701"
    assert d.message.startswith("cannot read --set name=")
    assert d.help


@pytest.mark.parametrize("pair", ["classes", "=3", "a b=3", "3=a", ""])
def test_what_is_no_pair(pair: str) -> None:
    with pytest.raises(CnnError, match="expected a name, `=` and a value"):
        read_settings([pair])


def test_all_bad_settings_at_once() -> None:
    with pytest.raises(CnnError) as caught:
        read_settings(["a=1,", "b", "c=3"])
    assert [d.code for d in caught.value.diagnostics] == ["E0701", "E0701"]


def test_settings_that_cannot_be_read_end_a_command(run, tiny) -> None:
    result = run("summary", tiny, "--set", "classes=1O")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "error[E0701]: cannot read --set classes=1O: `1O` is not a number" in result.stderr


# --- usage and help ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["chekc", "a.cnn"], "there is no command 'chekc'; did you mean 'check'?"),
        (["a.cnn"], "to check a file: cnndsl check a.cnn"),
        (["a.cnn:Net"], "to check a file: cnndsl check a.cnn:Net"),
        (["zzz"], f"there are {', '.join(cli.modules)}"),
        (["check"], "Missing argument 'FILE...'"),
        (["summary", "a.cnn", "--formt", "json"], "--format"),
        (["summary", "a.cnn", "--format", "xml"], "'xml' is not one of"),
        (["summary", "a.cnn", "b.cnn"], "unexpected extra argument"),
        (["run", "a.cnn", "--dtype", "int8"], "'int8' is not one of"),
        (["run", "a.cnn", "--top", "0"], "--top"),
        (["inspect", "a.cnn", "--stage", "ttyl"], "'ttyl' is not one of"),
    ],
)
def test_usage_errors(run, arguments: list[str], words: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_version(run) -> None:
    assert re.fullmatch(r"cnndsl, version \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_help_lists_the_commands(run) -> None:
    text = run("--help").stdout
    for name in ("check", "summary", "run", "inspect", "explain"):
        assert re.search(rf"^  {name} +[A-Z]", text, re.MULTILINE)
    assert run("-h").stdout == text


@pytest.mark.parametrize("name", ["check", "summary", "run", "inspect", "explain"])
def test_help_has_examples(run, name: str) -> None:
    text = run(name, "--help").stdout
    assert re.search(rf"^  Examples:\n    .*cnndsl {name}", text, re.MULTILINE)
    # Every option is explained.
    command = cli.get_command(None, name)
    assert command is not None
    assert all(parameter.help for parameter in command.params if isinstance(parameter, click.Option))
