"""The group: help, version, names that do not exist, the environment."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from imgtool import __version__, _ext
from imgtool.cli import cli
from imgtool.errors import one_line

COMMANDS = [
    "convolve",
    "kernels",
    "pipe",
    "nmi",
    "register",
    "stack",
    "warp",
    "points",
    "transform",
    "evaluate",
    "info",
    "formats",
]


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS)])
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_everything_has_help(call, words, option):
    result = call(*words, option)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: imgtool")
    assert result.stderr == ""


def test_help_lists_every_command_with_a_line_about_it(call):
    text = call("--help").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +[A-Z].*\.$", text, re.MULTILINE)


def test_the_line_is_the_first_of_the_commands_own_help(call):
    context = click.Context(cli)
    for name in cli.list_commands(context):
        assert cli.get_command(context, name).get_short_help_str(limit=80) in call("--help").stdout


def test_without_a_command_help_goes_to_standard_error_and_it_is_wrong_usage(call):
    result = call()
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: imgtool")


def test_version_is_one_line(call):
    result = call("--version")
    assert (result.exit_code, result.stdout) == (0, f"imgtool {__version__} (isa {_ext.ISA})\n")


@pytest.mark.parametrize("words", [["-v", "--version"], ["--version", "-v"]])
def test_version_with_v_tells_what_is_beneath(call, words):
    lines = call(*words).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["imgtool", "Python", "NumPy", "Cython"]
    assert all(re.search(r"\d+\.\d+", line) for line in lines)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["convolv"], "Error: there is no command 'convolv'; did you mean convolve? (see imgtool --help)"),
        (
            ["zzz"],
            "Error: there is no command 'zzz'; use one of convolve, kernels, pipe, nmi, register, ",
        ),
        (
            ["convolve", "a.png", "-k", "box"],
            "Error: nowhere to write; give -o FILE, or -O DIR for several inputs (see",
        ),
        (
            ["convolve", "-k", "box", "-o", "b.png"],
            "Error: Missing argument 'INPUT...' (see imgtool convolve --help)",
        ),
        (["warp", "a.png", "-o", "b.png"], "Error: Missing option '-t' / '--transform' (see imgtool warp --help)"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(call, words, sentence):
    result = call(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(sentence)
    assert result.stderr.count("\n") == 1


def test_a_shell_can_complete_commands_and_options(finish, monkeypatch):
    monkeypatch.setenv("_IMGTOOL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("COMP_WORDS", "imgtool ")
    status, out, _ = finish()
    assert (status, out.split()) == (0, [f"plain,{name}" for name in COMMANDS])
    monkeypatch.setenv("COMP_CWORD", "2")
    monkeypatch.setenv("COMP_WORDS", "imgtool convolve --bor")
    assert finish()[1].split() == ["plain,--border"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("convolve a.png -k gau", "gaussian"),
        ("convolve a.png -k box --border wr", "wrap"),
        ("kernels lapl", "laplacian"),
        ("convolve a.png -k box --exists ne", "newer"),
    ],
)
def test_a_shell_can_complete_values(finish, monkeypatch, words, found):
    monkeypatch.setenv("_IMGTOOL_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_CWORD", str(len(words.split())))
    monkeypatch.setenv("COMP_WORDS", f"imgtool {words}")
    assert finish()[1].split() == [f"plain,{found}"]


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", 'eval "$(_IMGTOOL_COMPLETE=bash_source imgtool)"; complete -p imgtool'),
        (
            "zsh",
            (
                "autoload -U compinit && compinit -u -D; "
                'eval "$(_IMGTOOL_COMPLETE=zsh_source imgtool)"; print $_comps[imgtool]'
            ),
        ),
        ("fish", "_IMGTOOL_COMPLETE=fish_source imgtool | source; complete -c imgtool"),
    ],
)
def test_the_shells_take_the_line_that_the_cookbook_gives(script, tmp_path, shell, line):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not on this machine")
    page = (Path(__file__).parents[2] / "docs" / "cookbook.md").read_text(encoding="utf-8")
    assert next(part for part in line.split("; ") if "COMPLETE" in part) in page
    path = f"{script.parent}:/usr/local/bin:/usr/bin:/bin"
    done = subprocess.run(
        [shell, "-c", line], env={"PATH": path, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert "_imgtool_completion" in done.stdout
    assert done.stderr == ""


def test_an_unknown_option_is_named(call):
    result = call("convolve", "--kernal", "box")
    assert result.exit_code == 2
    assert "--kernal" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--version"], ["convolve", "a.png", "-k", "box", "-o", "b.png"]])
def test_an_unknown_isa_is_wrong_usage_of_any_command(finish, monkeypatch, words):
    monkeypatch.setenv("IMGTOOL_ISA", "v5")
    status, out, err = finish(*words)
    assert (status, out) == (2, "")
    assert err.startswith("Error: IMGTOOL_ISA='v5' is unknown; use base, v3 or v4")
    assert err.count("\n") == 1


def test_isa_can_be_chosen(finish, monkeypatch):
    monkeypatch.setenv("IMGTOOL_ISA", "base")
    assert finish("--version") == (0, f"imgtool {__version__} (isa base)\n", "")


def test_options_can_be_set_in_the_environment(call, picture, files):
    picture("a.png")
    result = call("convolve", "a.png", env={"IMGTOOL_CONVOLVE_KERNEL": "box", "IMGTOOL_CONVOLVE_OUTPUT": "b.png"})
    assert (result.exit_code, result.stderr) == (0, "")
    assert files() == ["a.png", "b.png"]


def test_a_bad_value_in_the_environment_is_told_like_any_other(call):
    result = call("convolve", "a.png", "-k", "box", "-o", "b.png", env={"IMGTOOL_CONVOLVE_BORDER": "wrapp"})
    assert result.exit_code == 2
    assert "'--border': 'wrapp' is unknown; did you mean wrap?" in result.stderr


def test_options_can_be_set_in_a_file_which_all_else_overrides(call, picture, files, tmp_path):
    picture("a.png")
    (tmp_path / "c.toml").write_text(
        '[convolve]\nkernel = "box"\nborder = "wrap"\njobs = 1\njson = true\nscale = 0.5\n'
    )

    def used(*words, env=None):
        line = ("--config", "c.toml", "convolve", "a.png", "-O", "out", "--exists", "overwrite", *words)
        parameters = json.loads(call(*line, env=env).stdout)["parameters"]
        return parameters["kernel"], parameters["border"], parameters["scale"]

    assert used() == ("box", "wrap", 0.5)
    assert used("-k", "9") == ("9", "wrap", 0.5)
    assert used(env={"IMGTOOL_CONVOLVE_BORDER": "mirror"}) == ("box", "mirror", 0.5)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "--config c.toml: no such file or directory"),
        ("[convolve", "--config c.toml: no TOML ("),
        ("[convolv]", "[convolv] is no table of a command; did you mean convolve?"),
        ("convolve = 3", "[convolve] is no table of a command"),
        ("[convolve]\nboarder = 'wrap'", "[convolve] there is no option 'boarder'; did you mean border?"),
        ("[convolve]\njson = 'yes'", "[convolve] json is true or false, not 'yes'"),
        ("[convolve]\nborder = true", "[convolve] border is a text or a number, not True"),
        ("[convolve]\nborder = ['wrap']", "[convolve] border is a text or a number, not ['wrap']"),
        ("[convolve]\nborder = 'wrapp'", "'--border': 'wrapp' is unknown; did you mean wrap?"),
        ("[convolve]\nmax-pixels = -3", "'--max-pixels': -3 is not in the range"),
    ],
)
def test_what_is_wrong_in_such_a_file_is_wrong_usage(call, picture, tmp_path, content, sentence):
    picture("a.png")
    if content is not None:
        (tmp_path / "c.toml").write_text(content)
    result = call("--config", "c.toml", "convolve", "a.png", "-k", "box", "-o", "b.png")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert sentence in result.stderr


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_words_have_no_colours(call, variable):
    assert "\x1b" not in call("convolv", env={variable: "1"}).stderr


def test_a_line_stays_one_printable_line():
    assert one_line("a b\n\t\x1b[31m\udcff\u00e4") == "a b\\n\\t\\x1b[31m\\udcff\u00e4"
