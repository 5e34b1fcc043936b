"""The sign of a base that has seen the test: what other names cost it, next to files that it cannot have seen."""

import random

import pytest

from codefit.evaluation import contamination
from codefit.records import Pair


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def load_all(path, *rest):\n    total = 1\n", {"load_all", "path", "rest", "total"}),
        ("class FileReader:\n    self.buffer = None\n", {"FileReader", "buffer"}),
        ("for item in items:\n    print(item)\n", {"item"}),
        ("import numpy as np\nfrom os import path\npath = 1\nnumpy = 2\n", set()),  # imported names are of others
        ("fun render(node: Node) {\n    val depth = 1\n}\n", {"render", "node", "depth"}),
        ("call(key=1)\nif a == b:\n    x = 1\n", set()),  # of the function that is called; no assignment; too short
        ("return True\nself = 1\n", set()),
    ],
)
def test_own_names_are_those_that_a_text_defines(text: str, names: set[str]) -> None:
    assert contamination.own_names(text) == names


def test_names_are_renamed_alike_in_the_whole_pair() -> None:
    pair = Pair(
        id="1",
        task="infill",
        prompt="def load_all(path):\n    fileReader = open(path)\n    ",
        completion="return fileReader.read(path)\n",
        suffix="\nload_all(MAX)\n",
        path="a.py",
    )
    other = contamination.renamed(pair)
    function, parameter, reader = (
        other.prompt.split("(")[0].split()[-1],
        other.prompt.split("(")[1].split(")")[0],
        other.prompt.split(" = ")[0].split()[-1],
    )
    assert other.completion == f"return {reader}.read({parameter})\n"
    assert other.suffix == f"\n{function}(MAX)\n"
    assert (function.count("_"), parameter.islower(), sum(map(str.isupper, reader))) == (1, True, 1)
    assert len({"load_all", "path", "fileReader"} & {function, parameter, reader}) == 0
    assert contamination.renamed(pair) == other


def test_a_name_that_the_cursor_cuts_stays() -> None:
    pair = Pair(id="1", task="completion", prompt="total = 1\nprint(to", completion="tal, total)\n", path="a.py")
    other = contamination.renamed(pair)
    assert (other.prompt, other.completion) == (pair.prompt, pair.completion)


def losses(mean: float, files: int, seed: int) -> dict[str, float]:
    chance = random.Random(seed)
    return {f"f{file}": chance.gauss(mean, 0.3) for file in range(files)}


def test_a_test_that_loses_more_by_other_names_has_been_seen() -> None:
    assert contamination.compare(losses(1.5, 30, 1), losses(0.5, 30, 2)).is_seen
    assert not contamination.compare(losses(0.5, 30, 1), losses(1.5, 30, 2)).is_seen


def test_files_of_one_kind_seldom_differ() -> None:
    found = [contamination.compare(losses(0.5, 15, seed), losses(0.5, 15, 999 - seed)).is_seen for seed in range(60)]
    assert sum(found) <= 8  # 5 % of 60 are 3


def test_few_files_tell_nothing() -> None:
    found = contamination.compare(losses(9.0, 9, 1), losses(0.5, 30, 2))
    assert found.p is None
    assert not found.is_seen
