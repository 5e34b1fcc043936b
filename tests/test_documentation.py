"""The documentation is true: its commands parse, its links lead somewhere, its flags and records exist."""

import dataclasses
import importlib
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codefit import private_apis
from codefit.cli import Parser
from codefit.manifest import ROOT
from codefit.records import Document, Pair, Prediction, from_row

SCRIPTS = ("parse_data", "preprocess_data", "train", "merge_lora", "benchmarking", "bleu", "complete", "forecast")
PAGES = sorted(page for place in (".", "docs", "data", "speed", "runs") for page in (ROOT / place).glob("*.md"))
RUNS = sorted((ROOT / "runs").glob("*.sh"))
# What runs/choose.py may choose where 100 is no value.
CHOSEN = {"LANGUAGE": "python", "TASK": "infill", "TEST_SHARE": "0.1", "VALIDATION_SHARE": "0.1", "GGUF": "--gguf"}
PLACEHOLDER = "100"  # for what the shell fills in: a word that is a number too

# Flags of other tools that a page may name: hf, pip, git, llama.cpp.
FOREIGN_FLAGS = {
    "--repo-type",
    "--private",
    "--no-deps",
    "--upgrade",
    "--depth",
    "--bare",
    "--batch-size",
    "--ctx-size",
    "--predict",
    "--parallel",
    "--port",
    "--cpu",
    "--machine_rank",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parser_of(script: str) -> Parser:
    made: Parser = importlib.import_module(script).build_parser()
    return made


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Yield the fenced blocks of a page: language and content."""
    for match in re.finditer(r"(?ms)^ *```([\w-]*)[^\n]*\n(.*?)^ *```", text):
        yield match[1], match[2]


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", text)


# ---------------------------------------------------------------------------------------------- commands


CALL = re.compile(r"(?:^|[;&|]|\bdo\b|\bthen\b)\s*(?:\$ )?(?:\w+=\S* )*(?:\S*/)?python3? (?=\S+\.py\b)")


def commands(text: str) -> list[list[str]]:
    """Return every command of a shell text that runs a script of Python, as words: the script first.

    A variable has its value, its default, or the first value of its loop, where that is one plain word; whatever else
    the shell would fill in becomes a placeholder; "$@" is nothing.
    """
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r'"?\$[@*]"?', "", text)
    known = re.findall(r"^(\w+)=\$\{\1:-([\w./-]+)\}$", text, re.M) + re.findall(r"^(\w+)=([\w./-]+)$", text, re.M)
    for name, value in [*known, *CHOSEN.items(), *re.findall(r"\bfor (\w+) in ([\w./-]+)", text)]:
        text = re.sub(rf"\${name}\b", value, text)
    text = re.sub(r"\$\([^()]*\)|\$\{[^{}]*\}|\$\w+", PLACEHOLDER, text)
    found = []
    for line in text.splitlines():
        for start in CALL.finditer(line):
            lexer = shlex.shlex(line[start.end() :], posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            found.append(list(words_until_operator(lexer)))
    return found


def words_until_operator(lexer: shlex.shlex) -> Iterator[str]:
    for word in lexer:
        if word and not set(word) - set("();<>|&"):
            return
        yield word


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("python a.py --x 1\npython b.py", [["a.py", "--x", "1"], ["b.py"]]),
        ("python a.py --x \\\n    1 --y 'b c'  # why", [["a.py", "--x", "1", "--y", "b c"]]),
        ("$ python3 a.py > out.txt", [["a.py"]]),
        (".venv/bin/python a.py | head", [["a.py"]]),
        ("OMP_NUM_THREADS=1 A= python a.py && python b.py", [["a.py"], ["b.py"]]),
        ("for x in a b; do python a.py --task $x; done", [["a.py", "--task", "a"]]),
        (
            'X=${X:-a b}\nY=${Y:-c/d}\npython a.py --x $X --y "$Y/e" --z $Z',
            [["a.py", *["--x", "100", "--y", "c/d/e", "--z", "100"]]],
        ),
        ("D=2024-12-06\npython a.py --since $D", [["a.py", "--since", "2024-12-06"]]),
        ('  python a.py --input "$OUT"/w/*.whl "$@"', [["a.py", "--input", "100/w/*.whl"]]),
        ("python a.py --x $(nproc) --y ${Y:-3}", [["a.py", "--x", "100", "--y", "100"]]),
        ("python a.py --x '' --y 1", [["a.py", "--x", "", "--y", "1"]]),
        ("python speed/a.py", [["speed/a.py"]]),
        ("python -m pip install x\nmake demo\necho python a.py\n# python a.py", []),
    ],
)
def test_commands_are_found(text: str, found: list[list[str]]) -> None:
    assert commands(text) == found


def shown_commands() -> list[tuple[str, list[str]]]:
    """Return the commands that a user is shown: in pages, in pipelines, and in the help of the scripts."""
    texts = [(name_of(page), block) for page in PAGES for _, block in fences(page.read_text(encoding="utf-8"))]
    texts += [(name_of(run), run.read_text(encoding="utf-8")) for run in RUNS]
    texts += [(f"{script}.py", importlib.import_module(script).__doc__ or "") for script in SCRIPTS]
    return [(place, command) for place, text in texts for command in commands(text)]


def test_the_readme_and_every_help_show_commands() -> None:
    shown = {(place, command[0]) for place, command in shown_commands()}
    assert {("README.md", f"{script}.py") for script in SCRIPTS} <= shown
    assert {(f"{script}.py", f"{script}.py") for script in SCRIPTS} <= shown


@pytest.mark.parametrize(("place", "command"), shown_commands())
def test_every_command_that_is_shown_parses(place: str, command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    script, *words = command
    assert (ROOT / script).is_file()
    if "/" in script:
        return
    try:
        parser_of(Path(script).stem).parse_args(words)
    except SystemExit:
        pytest.fail(f"{place}: {' '.join(command)}\n{capsys.readouterr().err.splitlines()[-1]}")


@pytest.mark.parametrize("run", RUNS, ids=name_of)
def test_pipelines_are_valid_shell(run: Path) -> None:
    done = subprocess.run(["sh", "-n", str(run)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = run.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in text, "a pipeline stops at the first stage that fails"


# ---------------------------------------------------------------------------------------------- targets and links


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([\w-]+):", makefile))
    texts = [page.read_text(encoding="utf-8") for page in PAGES]
    named = {name for text in texts for name in re.findall(r"`make ([\w-]+)", text)}
    named |= {name for text in texts for _, block in fences(text) for name in re.findall(r"(?m)^make ([\w-]+)", block)}
    assert {"demo", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", [*PAGES, ROOT / "Makefile", *RUNS], ids=name_of)
def test_pipelines_and_pages_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"(?<![\w/.])(?:runs|docs|tests)/[\w-]+\.(?:sh|md|txt|py)\b", page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).is_file()] == []


def links(text: str) -> list[str]:
    """Return the relative targets of a page's links and pictures, without their anchors."""
    text = re.sub(r"`[^`\n]*`", "", prose(text))
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    found += re.findall(r"(?m)^\[[^\]]+\]:\s*(\S+)", text)
    return [target.split("#")[0] for target in found if not re.match(r"[a-z][a-z0-9+.-]*:|#", target)]


def test_links_are_found() -> None:
    text = """[a](docs/a.md#part) ![b](docs/b.png) [`c`](c.md "title") <img src="d.png">
[web](https://example.org/x) [mail](mailto:a@example.org) [here](#part) `[no](link)`
[e]: e.md
```
[no](link)
```
"""
    assert links(text) == ["docs/a.md", "docs/b.png", "c.md", "d.png", "e.md"]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_and_pictures_exist(page: Path) -> None:
    targets = links(page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


# ---------------------------------------------------------------------------------------------- flags and records


def flags(text: str) -> set[str]:
    """Return the flags that a page names in code spans."""
    spans = re.findall(r"`([^`\n]+)`", prose(text))
    return {flag for span in spans for flag in re.findall(r"(?<![\w-])--[a-z][\w.-]*", span)}


def test_flags_are_found() -> None:
    assert flags("`--task naming`, `train.py --max-steps 3 -a`, --no, `a--b`\n```sh\nx --y\n```\n") == {
        "--task",
        "--max-steps",
    }


def underscored(flag: str) -> str:
    return flag.replace("-", "_").replace("__", "--", 1)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_flags_that_are_named_exist(page: Path) -> None:
    actions = [action for script in SCRIPTS for action in private_apis.actions_of(parser_of(script))]
    known = {underscored(flag) for action in actions for flag in action.option_strings}
    named = {underscored(flag) for flag in flags(page.read_text(encoding="utf-8"))}
    foreign = {underscored(flag) for flag in FOREIGN_FLAGS}
    assert named - known - foreign == set()


KINDS: dict[str, Any] = {"content": Document, "completion": Pair, "prediction": Prediction}


def check_record(row: dict[str, Any], place: str) -> None:
    """Raise if a row that is shown as a record is none, or holds fields that a record does not have."""
    kinds = [kind for field, kind in KINDS.items() if field in row]
    if kinds:
        fields = {field.name: field for field in dataclasses.fields(kinds[0])}
        assert set(row) <= set(fields), place
        from_row(kinds[0], fields, row, place)


def shown_records() -> list[tuple[str, str]]:
    return [
        (name_of(page), line)
        for page in PAGES
        for language, block in fences(page.read_text(encoding="utf-8"))
        for line in (block.splitlines() if language in {"json", "jsonl"} else [])
        if line.startswith("{")
    ]


def test_the_readme_shows_each_kind_of_record() -> None:
    shown = [json.loads(line) for place, line in shown_records() if place == "README.md"]
    assert {field for field in KINDS for row in shown if field in row} == set(KINDS)


@pytest.mark.parametrize(("place", "line"), shown_records())
def test_records_that_are_shown_are_records(place: str, line: str) -> None:
    check_record(json.loads(line), place)


@pytest.mark.parametrize("row", [{"content": "a", "path": "p", "size": 1}, {"content": "a"}, {"prediction": 1}])
def test_a_wrong_record_is_seen(row: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"README|missing|must be"):
        check_record(row, "README.md")
