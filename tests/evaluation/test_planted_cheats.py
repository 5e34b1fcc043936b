"""Cheats that are planted in predictions and scored end to end: the first sentence has to name them.

Every benchmark is a folder of predictions that `benchmarking.py --rescore` reads. A reader who stops after the warnings
and the first sentence must not believe that the adapted model is better where it is not.
"""

import dataclasses
import json
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from codefit.records import Prediction
from tests.support.planted import (
    BASE,
    GOOD,
    ITEMS,
    LOOK_UP,
    NAMES,
    Items,
    asked,
    folder,
    guess,
    guesses,
    replaced,
    rescored,
)


def memorised(share: float) -> Items:
    """Return a model that is as good as the base, except for a share of the test that it has memorised."""
    chance = random.Random(1)
    return [
        dataclasses.replace(item, prediction=item.reference) if chance.random() < share else item
        for item in guesses(ITEMS, 0.5, "adapted")
    ]


def all_but_the_last_letter() -> Items:
    return replaced(ITEMS, lambda item: item.reference.strip()[:-1])


def running_on() -> Items:
    return replaced(GOOD, lambda item: item.prediction + "value = other\n" * 6)


def one_huge_file() -> tuple[Items, Items]:
    items = [*asked(1, 400, seed=1), *(dataclasses.replace(item, path=f"small/{item.path}") for item in asked(20, 2))]
    items = [dataclasses.replace(item, id=str(number)) for number, item in enumerate(items)]
    base = guesses(items, 0.5)
    return base, [*guesses(items[:400], 0.75, "adapted"), *guesses(items[400:], 0.5, "adapted")]


def short_and_long() -> tuple[Items, Items]:
    """Return a model that is better at short references and worse at long ones."""
    chance = random.Random(3)
    items = [
        dataclasses.replace(item, reference=f"{chance.choice(NAMES)}_{chance.randrange(99)} = 1\n")
        if number % 2
        else item
        for number, item in enumerate(asked(20, 10))
    ]
    base = guesses(items, 0.6)
    adapted = [guess(item, 0.95 if number % 2 else 0.4, "adapted") for number, item in enumerate(items)]
    return base, adapted


def with_suffix() -> Items:
    return [
        dataclasses.replace(item, suffix=f"\nreturn {item.prompt.split()[4]}\n", task="infill", language="python")
        for item in ITEMS
    ]


def copies(items: Sequence[Prediction], times: int) -> Items:
    """Return the items of a few files, and of copies of these under other names."""
    return [
        dataclasses.replace(
            item, id=f"{item.id} {time}", path=f"copy{time}/{item.path}", prompt=f"# {time}\n{item.prompt}"
        )
        for time in range(times)
        for item in items
    ]


def nearly_the_same() -> Items:
    """Return 500 prompts from six files that differ in a number only."""
    return [
        dataclasses.replace(
            ITEMS[0],
            id=str(at),
            path=f"f{at % 6}.py",
            prompt=f"def add_{at}(x):\n    return ",
            reference=f"x + total({at})\n",
        )
        for at in range(500)
    ]


def only_the_shortest_prompts() -> Items:
    short = {item.id for item in sorted(ITEMS, key=lambda item: len(item.prompt))[:30]}
    return replaced(guesses(ITEMS, 0.8, "x"), lambda item: item.prediction if item.id in short else "")


def cut_references(items: Items) -> Items:
    return [dataclasses.replace(item, reference=item.reference[:2]) for item in items]


def other_rows(items: Items) -> Items:
    return [
        dataclasses.replace(item, prediction=item.prediction + other.reference)
        for item, other in zip(items, [*ITEMS[1:], ITEMS[0]], strict=True)
    ]


CHEATS: dict[str, tuple[Callable[[], tuple[Items, Items]], Sequence[str], str]] = {
    "only stops": (
        lambda: (running_on(), GOOD),
        (),
        "all of them from stopping; with stopping taken out, it is the same",
    ),
    "echoes": (
        lambda: (BASE, replaced(guesses(ITEMS, 0.9, "x"), lambda item: item.prompt + item.prediction)),
        (),
        "No conclusion about the adapted model on held-out code: 100 % of the predictions of the adapted model contain",
    ),
    "knows all": (lambda: (BASE, memorised(1.0)), (), "No conclusion about the adapted model on held-out code: the"),
    "knows 40 %": (lambda: (BASE, memorised(0.4)), (), "No conclusion about the adapted model on held-out code: the"),
    "knows 20 %": (lambda: (BASE, memorised(0.2)), (), "No conclusion about the adapted model on held-out code: the"),
    "knows all but a letter": (lambda: (BASE, all_but_the_last_letter()), (), "No conclusion about the adapted model"),
    "repeats": (
        lambda: (BASE, replaced(BASE, lambda item: "call(value, other); " * 9)),
        (),
        "No conclusion about the adapted model on held-out code: 100 % of the predictions of the adapted model repeat",
    ),
    "constant": (
        lambda: (BASE, replaced(BASE, lambda item: "result = parse_1(value, load=1)\n")),
        (),
        "are the same text (base model 1 %, references 1 %)",
    ),
    "looks up": (
        lambda: (BASE, guesses(ITEMS, 0.6, "look-up")),
        LOOK_UP,
        "copies the nearest training item in 100 of 100 prompts where that is wrong",
    ),
    "no better than a look-up": (
        lambda: (BASE, guesses(ITEMS, 0.6, "adapted")),
        LOOK_UP,
        "the adapted model is not shown to be better than looking up training code (",
    ),
    "looks up, training data elsewhere": (
        lambda: (BASE, guesses(ITEMS, 0.7, "x")),
        (),
        "not compared with a look-up, since the training data are not available",
    ),
    "one huge file": (
        one_huge_file,
        (),
        "No conclusion about the adapted model on held-out code: one file (src/f0.py)",
    ),
    "better on short, worse on long": (short_and_long, (), "worse in: length of the reference 41 to 160"),
    "n = 3": (lambda: (BASE[:3], guesses(ITEMS[:3], 0.8, "x")), (), "Too few prompts (3 from 1 file; about "),
    "one file": (
        lambda: (guesses(asked(1, 60), 0.5), guesses(asked(1, 60), 0.8, "x")),
        (),
        "Too few prompts (60 from 1 file; about 5 more files are needed) to tell whether the adapted model is better",
    ),
    "copies the suffix": (
        lambda: (guesses(with_suffix(), 0.5), replaced(with_suffix(), lambda item: f"{item.suffix}".strip() + "\n")),
        (),
        "he adapted model",
    ),
    "capitals": (
        lambda: (BASE, replaced(guesses(ITEMS, 0.8, "x"), lambda item: item.prediction.upper())),
        (),
        "With stopping taken out, the adapted model is worse than the base",
    ),
    "answers only the shortest prompts": (
        lambda: (BASE, only_the_shortest_prompts()),
        (),
        "No conclusion about the adapted model on held-out code: 70 % of the predictions of the adapted model are",
    ),
    "appends the reference of another row": (
        lambda: (BASE, other_rows(BASE)),
        (),
        "With stopping taken out, the adapted model is worse than the base",
    ),
    "Markdown fences": (
        lambda: (BASE, replaced(guesses(ITEMS, 0.8, "x"), lambda item: f"```python\n{item.prediction}```\n")),
        (),
        "No conclusion about the adapted model on held-out code: 100 % of the predictions of the adapted model begin",
    ),
    "white space": (
        lambda: (BASE, replaced(BASE, lambda item: "   \n\n  ")),
        (),
        "No conclusion about the adapted model on held-out code: 100 % of the predictions of the adapted model are",
    ),
    "base and adapted swapped": (
        lambda: (guesses(ITEMS, 0.8, "x"), BASE),
        (),
        "With stopping taken out, the adapted model is worse than the base",
    ),
    "three files and their copies": (
        lambda: (copies(guesses(asked(3, 16), 0.5), 2), copies(guesses(asked(3, 16), 0.8, "x"), 2)),
        (),
        "Too few prompts (96 from 3 files; about 3 more files are needed) to tell whether the adapted model is better",
    ),
    "nearly the same prompts": (
        lambda: (guesses(nearly_the_same(), 0.4), guesses(nearly_the_same(), 0.7, "x")),
        (),
        "No conclusion about the adapted model on held-out code: only 1 of 500 prompts differ in more than numbers",
    ),
    "references of two letters": (
        lambda: (cut_references(BASE), replaced(cut_references(ITEMS), lambda item: item.reference)),
        (),
        "No conclusion about the adapted model on held-out code: 100 of 100 references have fewer than 3 characters",
    ),
    "all equal": (lambda: (BASE, BASE), (), "The content of the adapted model is the same as the base's within 2"),
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_is_reported_first(cheat: str, tmp_path: Path) -> None:
    planted, nearest, words = CHEATS[cheat]
    base, adapted = planted()
    for text in rescored(folder(tmp_path / "run", base, adapted, nearest)).values():
        assert words in text.replace("&#39;", "'")
        assert cheat.startswith("better on") or "he adapted model is better on held-out code: " not in text


@pytest.mark.parametrize(
    "cheat", ["echoes", "knows 40 %", "one huge file", "nearly the same prompts", "Markdown fences"]
)
def test_where_there_is_no_conclusion_nothing_is_called_better_or_worse(cheat: str, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", *CHEATS[cheat][0]())
    rescored(run)
    page, markdown = ((run / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))
    table = markdown.partition("\n|")[2]
    assert not re.search(r"\b(?:better|worse) +\|", table)
    assert re.search(r"\| (?:no conclusion|too few) +\|", table)
    assert "Secondary metrics" not in page + markdown
    assert "▲ " not in page
    assert "▼ " not in page
    content = json.loads((run / "scores.json").read_text(encoding="utf-8"))["benchmarks"]["heldout"]
    rows = [*content["metrics"], *content["groups"]]
    assert {row["against_base"]["adapted"]["verdict"] for row in rows} <= {"no conclusion", "too few"}


def test_what_leaves_no_conclusion_is_not_kept(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, memorised(1.0))
    made = json.loads((run / "manifest.json").read_text())
    made["benchmarks"]["heldout"]["forgetting"] = True
    (run / "manifest.json").write_text(json.dumps(made))
    for text in rescored(run).values():
        assert "Cannot tell whether the adapted model forgot, on held-out code: the adapted model has memorised" in text


def test_only_a_model_that_runs_on_less_has_learned_to_stop(tmp_path: Path) -> None:
    """The adapted model is better as it writes, and an editor would cut that away: both stop alike."""
    nothing = replaced(ITEMS, lambda item: "  pass\n")
    comment = replaced(ITEMS, lambda item: f"  pass\n{item.reference}")
    for text in rescored(folder(tmp_path / "run", nothing, comment)).values():
        assert "from stopping" not in text


def test_a_better_model_is_called_better(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8, "x"), LOOK_UP)
    for text in rescored(run).values():
        assert "With stopping taken out, the adapted model is better on held-out code: +" in text
        assert "and than looking up training code (" in text
        assert "Warning" not in text
