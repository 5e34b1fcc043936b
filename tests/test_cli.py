"""What every script shares: flags in two spellings, help that answers at once, exit codes, and what is printed."""

import argparse
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tqdm

from codefit import cli, console, private_apis
from codefit.errors import Interrupted, UserError, first_line
from codefit.manifest import ROOT

SCRIPTS = ("parse_data", "preprocess_data", "train", "merge_lora", "benchmarking", "bleu", "complete", "forecast")

# ---------------------------------------------------------------------------------------------- parser


@pytest.fixture
def parser() -> cli.Parser:
    made = cli.Parser("Do a thing.\n\n    python thing.py\n")
    made.add_argument("--flag_name", default="", help="a text")
    made.add_argument("--words", nargs="+", default=["one", "two"], help="some words")
    made.add_argument("--seed", type=int, default=0, help="a seed")
    made.add_argument("--rate", type=float, default=0.0, help="a rate")
    made.add_argument("--limit", type=int, help="no default")
    made.add_argument("--own", default=7, help="a number (default: seven)")
    made.add_argument("--four_bits", action=argparse.BooleanOptionalAction, help="yes, no or absent")
    made.add_argument("-s", "--short_one", action="store_true", help="a switch")
    return made


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--flag_name", "x"], "flag_name", "x"),
        (["--flag-name", "x"], "flag_name", "x"),
        (["--flag-name=x"], "flag_name", "x"),
        (["--flag_name=x"], "flag_name", "x"),
        (["--flag-name", "a-b_c"], "flag_name", "a-b_c"),
        (["--flag-name=a-b=c-d"], "flag_name", "a-b=c-d"),
        (["--flag-name=--a-b"], "flag_name", "--a-b"),
        (["--flag-name=--flag-name"], "flag_name", "--flag-name"),
        (["--flag-name", "--no such-flag"], "flag_name", "--no such-flag"),
        (["--flag-name", "-1"], "flag_name", "-1"),
        (["--flag-name", "__short-one"], "flag_name", "__short-one"),
        (["--words", "a-b", "c_d", "--seed", "3"], "words", ["a-b", "c_d"]),
        (["--short-one"], "short_one", True),
        (["-s"], "short_one", True),
        (["--four-bits"], "four_bits", True),
        (["--no-four_bits"], "four_bits", False),
        (["--no_four_bits"], "four_bits", False),
        (["--no-four-bits"], "four_bits", False),
        ([], "four_bits", None),
    ],
)
def test_a_flag_has_two_spellings_and_a_value_one(parser: cli.Parser, words: list[str], name: str, value: object):
    assert getattr(parser.parse_args(words), name) == value


def test_the_arguments_of_the_command_line_are_read(parser: cli.Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["thing.py", "--flag-name", "x-y"])
    assert parser.parse_args().flag_name == "x-y"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--flag_nmae", "x"], "unknown argument --flag_nmae; did you mean --flag_name?"),
        (["--flag-nmae=x-y"], "unknown argument --flag-nmae; did you mean --flag_name?"),
        (["--flag", "x"], "unknown argument --flag; did you mean --flag_name?"),
        (["--no-fourbits"], "unknown argument --no-fourbits; did you mean --no-four_bits?"),
        (["--zzz"], "unknown argument --zzz; --help lists the flags."),
        (["stray"], "unknown argument stray; --help lists the flags."),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--flag_name"], "argument --flag_name: expected one argument"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_why(
    parser: cli.Parser, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser.parse_args(words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {message}")


def test_a_wrong_argument_is_answered_in_two_lines(parser: cli.Parser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser.parse_args(["--zzz"])
    usage, error = capsys.readouterr().err.splitlines()
    assert usage.startswith("usage: ")
    assert usage.endswith("[flags]; --help lists the flags")
    assert "error: unknown argument --zzz" in error


@pytest.mark.parametrize(
    ("name", "word", "meant"),
    [
        ("train", "--model", "--model_name_or_path"),
        ("train", "--lr", "--learning_rate"),
        ("train", "--lr=1e-4", "--learning_rate"),
        ("train", "--epochs", "--num_train_epochs"),
        ("train", "--rank", "--lora_r"),
        ("train", "--batch-size", "--per_device_train_batch_size"),
        ("train", "--data", "--dataset"),
        ("train", "--data-path", "--dataset"),
        ("train", "-o", "--output_dir"),
        ("preprocess_data", "--data", "--input"),
        ("preprocess_data", "--output_dir", "--output"),
        ("parse_data", "--repo", "--repository"),
        ("benchmarking", "--batch_size", "--tokens_per_batch"),
        ("benchmarking", "--limit", "--sample"),
        ("complete", "--max_tokens", "--max_new_tokens"),
        ("merge_lora", "--base", "--model_name_or_path"),
    ],
)
def test_the_name_of_a_flag_in_other_tools_is_understood(
    name: str, word: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(name).build_parser().parse_args([word, "1"])
    assert f"; did you mean {meant}?" in capsys.readouterr().err


def test_every_suggested_flag_belongs_to_a_script_and_no_name_to_itself() -> None:
    parsers = [importlib.import_module(name).build_parser() for name in SCRIPTS]
    known = {action.dest for each in parsers for action in private_apis.actions_of(each)}
    assert set(cli.ELSEWHERE) <= known
    assert not [flag for flag, names in cli.ELSEWHERE.items() if flag in names.split()]


@pytest.mark.parametrize("name", ["complete", "merge_lora", "benchmarking"])
@pytest.mark.parametrize(
    "words",
    [
        ["some/model", "--model_name_or_path", "base"],
        ["--model_name_or_path", "base", "some/model"],
        ["--model", "some/model", "--model_name_or_path", "base"],
        ["--adapter=some/model", "--model_name_or_path", "base"],
        ["--hf-repository", "some/model", "--model_name_or_path", "base"],
    ],
)
def test_a_model_that_is_read_has_a_flag_two_aliases_and_a_place(name: str, words: list[str]) -> None:
    values = importlib.import_module(name).build_parser().parse_args(words)
    several = name == "benchmarking"
    assert values.hf_repository == (["some/model"] if several else "some/model")
    assert values.model_name_or_path == "base"
    assert "model" not in vars(values)


def test_a_benchmark_takes_several_models_without_a_flag() -> None:
    values = importlib.import_module("benchmarking").build_parser().parse_args(["a", "--sample", "3", "b"])
    assert values.hf_repository == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("complete", [], "no model is named; give a folder or a Hub id as the first argument"),
        ("complete", [" "], "the name of the model is empty; give a folder or a Hub id"),
        ("complete", ["a", "b"], "unknown argument b; --help lists the flags."),
        ("complete", ["a", "--model", "b"], "the model is named by a flag and again without one (a); name it once"),
        (
            "benchmarking",
            ["a", "--adapter", "b"],
            "the model is named by a flag and again without one (a); name it once",
        ),
        ("train", ["a"], "unknown argument a; --help lists the flags."),
    ],
)
def test_a_model_is_named_once(name: str, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module(name).build_parser().parse_args(words)
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_says_whether_a_hub_repository_is_read_or_written(name: str) -> None:
    actions = private_apis.actions_of(importlib.import_module(name).build_parser())
    for action in actions:
        if action.dest == "hf_repository":
            first = "push to" if name in ("parse_data", "preprocess_data", "train") else "read from"
            assert str(action.help).startswith(first)


def test_rare_flags_are_only_in_the_long_help(capsys: pytest.CaptureFixture[str]) -> None:
    script_parser = importlib.import_module("train").build_parser()
    shown = {}
    for flag in ("--help", "--help_all"):
        with pytest.raises(SystemExit) as stopped:
            script_parser.parse_args([flag])
        assert stopped.value.code == 0
        shown[flag] = capsys.readouterr().out
    assert "--use_dora" in shown["--help_all"]
    assert "--use_dora" not in shown["--help"]
    assert "--learning_rate" in shown["--help"]
    assert "--help_all also shows: " in shown["--help"]
    assert len(shown["--help"].splitlines()) < 80


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_fits_the_terminal(name: str, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = importlib.import_module(name).build_parser().format_help()
    flags = text.partition("options:")[2]
    assert max(map(len, flags.splitlines())) <= columns


def entry(help_text: str, flag: str) -> str:
    """Return what the help says of one flag, on one line."""
    parts = re.split(r"\n  (?=-)", help_text)[1:]
    found = [part for part in parts if flag in re.split("[ ,\n]", part.split("  ")[0])]
    assert len(found) == 1, (flag, found)
    return " ".join(found[0].split("\n\n")[0].split())


@pytest.mark.parametrize(
    ("flag", "shown"),
    [
        ("--words", "some words (default: one two)"),
        ("--seed", "a seed (default: 0)"),
        ("--rate", "a rate (default: 0.0)"),
        ("--limit", "no default"),
        ("--own", "a number (default: seven)"),
        ("--four_bits", "yes, no or absent"),
        ("--short_one", "a switch"),
    ],
)
def test_help_shows_every_default_that_is_a_value(parser: cli.Parser, flag: str, shown: str) -> None:
    assert entry(parser.format_help(), flag).endswith(shown)


def test_help_keeps_the_layout_of_the_docstring(parser: cli.Parser) -> None:
    assert "Do a thing.\n\n    python thing.py\n" in parser.format_help()


@pytest.mark.parametrize(
    ("kind", "limits", "text", "value"),
    [
        (int, (1,), "1", 1),
        (int, (0, 5), "5", 5),
        (float, (0, 1), "0", 0.0),
        (float, (0, 1), "1.0", 1.0),
        (float, (0,), "2e-4", 2e-4),
    ],
)
def test_number_takes_both_limits(kind: type, limits: tuple[float, ...], text: str, value: float) -> None:
    found = cli.number(kind, *limits)(text)
    assert (found, type(found)) == (value, kind)


@pytest.mark.parametrize(
    ("kind", "limits", "text", "message"),
    [
        (int, (1,), "0", "0 must be at least 1"),
        (int, (0, 5), "6", "6 must be between 0 and 5"),
        (int, (0, 5), "-1", "-1 must be between 0 and 5"),
        (float, (0, 0.4), "0.41", "0.41 must be between 0 and 0.4"),
        (int, (0,), "1.5", "'1.5' is not a number of type int"),
        (int, (0,), "", "'' is not a number of type int"),
        (float, (0,), "much", "'much' is not a number of type float"),
        (float, (0,), "nan", "'nan' is not a number of type float"),
        (float, (0,), "inf", "'inf' is not a number of type float"),
        (int, (0,), "1" + "0" * 400, f"'1{'0' * 400}' is not a number of type int"),
    ],
)
def test_number_refuses_other_text_and_values_out_of_range(
    kind: type, limits: tuple[float, ...], text: str, message: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        cli.number(kind, *limits)(text)
    assert str(refused.value) == message


# ---------------------------------------------------------------------------------------------- run


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_run_exits_with_what_main_returns(returned: int | None, code: int) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(lambda: returned)
    assert (stopped.value.code or 0) == code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("it broke; mend it."), 1, "error: it broke; mend it.\n"),
        (Interrupted("stopped; go on."), 130, "error: stopped; go on.\n"),
        (KeyboardInterrupt(), 130, "stopped; run the same command again to continue.\n"),
    ],
)
def test_run_states_a_problem_in_one_line(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as stopped:
        cli.run(main)
    assert stopped.value.code == code
    assert capsys.readouterr() == ("", line)


def script(body: str, *words: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a small script in a process of its own, buffered as users run it."""
    code = f"import os, signal, sys\nfrom pathlib import Path\nfrom codefit import cli\n{body}"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    defaults = {"cwd": ROOT, "env": environment, "text": True, "stderr": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], check=False, **{**defaults, **options})  # type: ignore[call-overload, no-any-return]


def test_a_stated_problem_leaves_no_traceback_and_a_defect_does() -> None:
    stated = script("def main(): raise cli.UserError('no; do.')\ncli.run(main)")
    defect = script("def main(): raise KeyError('no')\ncli.run(main)")
    assert (stated.returncode, stated.stdout, stated.stderr) == (1, "", "error: no; do.\n")
    assert defect.returncode == 1
    assert defect.stderr.startswith("Traceback")
    assert defect.stderr.endswith("KeyError: 'no'\n")


@pytest.mark.parametrize("lines", [1, 50_000], ids=["in the buffer", "beyond the buffer"])
def test_a_closed_pipe_is_not_an_error(lines: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = script(f"def main(): print('some words\\n' * {lines})\ncli.run(main)", stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no  such\tfile.\nmore"), "no such file"),
        (OSError("\n  a cause"), "a cause"),
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_library_message_becomes_part_of_a_sentence(error: Exception, said: str) -> None:
    assert first_line(error) == said


def test_run_switches_the_telemetry_of_libraries_off(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY")
    for name in names:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    seen = {}
    with pytest.raises(SystemExit):
        cli.run(lambda: seen.update({name: os.environ.get(name) for name in names}))
    assert seen == dict.fromkeys(names, "1")


# ---------------------------------------------------------------------------------------------- terminal


def test_progress_passes_everything_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(console.progress(iter("abc"), "letters", total=3, unit="letter")) == ["a", "b", "c"]
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "letters" in printed.err
    assert "3/3" in printed.err


def test_a_table_sets_numbers_to_the_right() -> None:
    rows = [["train", 1200, "91.0%", "long words"], ["test", 7, "-", ""]]
    assert console.table(rows, ["split", "pairs", "share", "note"]).splitlines() == [
        "split  pairs  share  note",
        "-----  -----  -----  ----------",
        "train   1200  91.0%  long words",
        "test       7      -",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert console.table([], ["a", "long"]) == "a  long\n-  ----"


def test_a_table_refuses_a_row_of_another_length() -> None:
    with pytest.raises((ValueError, IndexError)):
        console.table([["a"]], ["one", "two"])


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.7, "1 h 0 min"),
        (7500, "2 h 5 min"),
        (180000, "50 h 0 min"),
    ],
)
def test_duration(seconds: float, said: str) -> None:
    assert console.duration(seconds) == said


def test_output_flags_mean_the_same_everywhere() -> None:
    parser = cli.Parser("")
    cli.add_output_flags(parser)
    assert vars(parser.parse_args([])) == {"overwrite": False, "dry_run": False}
    assert vars(parser.parse_args(["--overwrite", "--dry-run"])) == {"overwrite": True, "dry_run": True}


# ---------------------------------------------------------------------------------------------- help of the scripts

HEAVY = ("torch", "transformers", "datasets")
HELP_SECONDS = 0.5  # of CPU time: what a shell feels as at once, with room for a slow machine


@pytest.fixture(scope="module")
def without_heavy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a machine on which the heavy packages cannot be imported."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(
        "import sys\n\n\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {HEAVY}:\n"
        "            raise ImportError(name + ' is blocked')\n\n\n"
        "sys.meta_path.insert(0, Blocked())\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "100"}


@pytest.mark.parametrize("name", HEAVY)
def test_the_heavy_packages_are_really_blocked(without_heavy: dict[str, str], name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], env=without_heavy, capture_output=True, text=True, check=False
    )
    assert f"ImportError: {name} is blocked" in done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_answers_without_heavy_packages(name: str, without_heavy: dict[str, str]) -> None:
    command = [sys.executable, f"{name}.py", "--help"]
    done = subprocess.run(command, cwd=ROOT, env=without_heavy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: {name}.py ")


def cpu_seconds(command: list[str], environment: dict[str, str]) -> float:
    """Return the CPU seconds that a command takes, those of the kernel included."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_help_answers_at_once(name: str, without_heavy: dict[str, str]) -> None:
    command = [sys.executable, f"{name}.py", "--help"]
    assert min(cpu_seconds(command, without_heavy) for _ in range(3)) < HELP_SECONDS


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_explains_every_flag_and_shows_its_default(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # so that no value is broken at a hyphen
    script_parser = importlib.import_module(name).build_parser()
    text = script_parser.format_help()
    for action in private_apis.actions_of(script_parser):
        assert action.help, f"{action.option_strings} has no help text"
        shown = entry(text, action.option_strings[-1])
        default = action.default
        if default != [] and not any(default is value for value in (None, False, argparse.SUPPRESS)):
            value = " ".join(map(str, default)) if isinstance(default, list) else str(default)
            assert f"(default: {value})" in shown
        assert shown.count("(default") <= 1, shown


def test_an_error_has_a_line_of_its_own_after_an_open_progress_bar(capsys):
    def main():
        for _ in tqdm.tqdm(range(3)):
            raise UserError("x; do y.")

    with pytest.raises(SystemExit):
        cli.run(main)
    assert capsys.readouterr().err.splitlines()[-1] == "error: x; do y."
