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

import benchmarking
from codefit import records
from codefit.errors import UserError
from codefit.records import Prediction

NAMES = ("load", "store", "parse", "render", "merge", "split", "encode", "decode", "open", "close")
FILES, PER_FILE = 20, 5
SETTINGS = {
    "decode": "greedy",
    "stop": "eos",
    "new": "64",
    "prompt": "512",
    "by": "t",
    "dtype": "fp32",
    "device": "cpu",
}

Items = list[Prediction]


def line(chance: random.Random) -> str:
    """Return a line of code that no other prompt has."""
    one, other, third = (f"{chance.choice(NAMES)}_{chance.randrange(10**6)}" for _ in range(3))
    return f"{one} = {other}({third}, {chance.choice(NAMES)}={chance.randrange(99)})"


def asked(files: int = FILES, per_file: int = PER_FILE, seed: int = 0) -> Items:
    """Return prompts with their references, without predictions."""
    chance = random.Random(seed)
    return [
        Prediction(
            id=f"f{file}:{number}",
            prompt=f"import os\n\n# {line(chance)}\n# {line(chance)}\n",
            prediction="",
            reference=f"{line(chance)}\n",
            path=f"src/f{file}.py",
            repository="some/project",
            scores={"nats": 40.0 + chance.random(), "tokens": 20},
        )
        for file in range(files)
        for number in range(per_file)
    ]


def guess(item: Prediction, right: float, seed: str) -> Prediction:
    """Return an item whose prediction is its reference with a share of the characters garbled by seed."""
    chance = random.Random(f"{item.id} {seed}")
    letters = [letter if chance.random() < right else chance.choice("abcdefgh") for letter in item.reference[:-1]]
    return dataclasses.replace(item, prediction="".join(letters) + "\n")


def guesses(items: Sequence[Prediction], right: float, seed: str = "") -> Items:
    return [guess(item, right, seed) for item in items]


def replaced(items: Sequence[Prediction], write: Callable[[Prediction], str]) -> Items:
    return [dataclasses.replace(item, prediction=write(item)) for item in items]


def folder(
    path: Path, base: Items, adapted: Items, nearest: Sequence[str] = (), settings: tuple[dict[str, str], ...] = ()
) -> Path:
    """Write a finished benchmark of these predictions."""
    models = {key: {"name": key, "label": key, "role": key} for key in ("base", "adapted")}
    decoding = dict(zip(("base", "adapted"), settings or (SETTINGS, SETTINGS), strict=True))
    made = {
        "command": [],
        "arguments": {"seed": 0, "split": "test"},
        "versions": {},
        "models": models,
        "benchmarks": {"heldout": {"title": "held-out code", "decoding": decoding}},
        "toolkit_commit": None,
        "dataset": "data",
    }
    path.mkdir()
    (path / "manifest.json").write_text(json.dumps(made), encoding="utf-8")
    for key, items in (("base", base), ("adapted", adapted)):
        records.write_jsonl(path / f"predictions-{key}-heldout.jsonl", items)
    if nearest:
        rows = [
            {"id": item.id, "references": item.reference, "constant": "pass\n", "nearest": text}
            for item, text in zip(base, nearest, strict=True)
        ]
        records.write_jsonl(path / "baselines-heldout.jsonl", rows)
    return path


def rescored(path: Path, *flags: str) -> dict[str, str]:
    """Return the text before the score table, on one line, for each form of the report."""
    benchmarking.main(["--rescore", "--output_dir", str(path), *flags])
    page = (path / "report.html").read_text(encoding="utf-8").split('<p class="others">')[0].split("<h1>")[1]
    markdown = (path / "report.md").read_text(encoding="utf-8").split("\n|")[0]
    return {name: " ".join(text.split()) for name, text in (("html", page), ("markdown", markdown))}


ITEMS = asked()
BASE = guesses(ITEMS, 0.5)
GOOD = replaced(ITEMS, lambda item: re.sub(r"[a-z]+_[0-9]+", "x1", item.reference))  # parses, and is not exact
LOOK_UP = [item.prediction for item in guesses(ITEMS, 0.6, "look-up")]


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
    "only stops": (lambda: (running_on(), GOOD), (), "The adapted model learned to stop; its content is the same"),
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
        "not compared with a look-up, since the training data are not at hand",
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
        assert "Cannot tell whether the adapted model forgot, on held-out code: the adapted model knows" in text


def test_only_a_model_that_runs_on_less_has_learned_to_stop(tmp_path: Path) -> None:
    """The adapted model is better as it writes, and an editor would cut that away: both stop alike."""
    nothing = replaced(ITEMS, lambda item: "  pass\n")
    comment = replaced(ITEMS, lambda item: f"  pass\n{item.reference}")
    for text in rescored(folder(tmp_path / "run", nothing, comment)).values():
        assert "learned to stop" not in text


def test_a_better_model_is_called_better(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8, "x"), LOOK_UP)
    for text in rescored(run).values():
        assert "With stopping taken out, the adapted model is better on held-out code: +" in text
        assert "and than looking up training code (" in text
        assert "Warning" not in text


# ------------------------------------------------------------------------------------------- what is refused


def nan(item: Prediction) -> Prediction:
    return dataclasses.replace(item, scores={"nats": float("nan"), "tokens": 20})


def broken(kind: str, items: Items) -> Items:
    first, second, *rest = items
    return {
        "swapped": [second, first, *rest],
        "missing": [second, *rest],
        "doubled": [first, first, *rest],
        "doubled at the end": [*items, first],
        "no number": [nan(first), second, *rest],
        "other reference": [dataclasses.replace(first, reference="x\n"), second, *rest],
        "other prompt": [dataclasses.replace(first, prompt="x\n"), second, *rest],
        "more tokens": [dataclasses.replace(first, scores={"nats": 40.0, "tokens": 40}), second, *rest],
    }[kind]


REFUSED = {
    "swapped": "do not hold the same items",
    "missing": "do not hold the same items",
    "doubled": "holds f0:0 twice",
    "doubled at the end": "holds f0:0 twice",
    "no number": "holds nan as nats of f0:0",
    "other reference": "have another prompt or reference for f0:0",
    "other prompt": "have another prompt or reference for f0:0",
    "more tokens": "counts 40 tokens in the reference of f0:0, and the base 20",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_broken_predictions_are_refused(kind: str, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, broken(kind, BASE))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(UserError, match=REFUSED[kind]):
        rescored(run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("kind", ["doubled", "doubled at the end", "no number"])
def test_defects_in_both_files_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=REFUSED[kind]):
        rescored(folder(tmp_path / "run", broken(kind, BASE), broken(kind, guesses(ITEMS, 0.8))))


def test_references_that_are_changed_in_both_files_are_refused(tmp_path: Path) -> None:
    from codefit.evaluation.report import comparability

    run = folder(tmp_path / "run", broken("other reference", BASE), broken("other reference", BASE))
    made = json.loads((run / "manifest.json").read_text())
    made["asked"] = {"heldout": comparability.digest(BASE)}
    (run / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="has other prompts or references than the manifest says"):
        rescored(run)


CHANGES: dict[str, Callable[[Prediction], Prediction]] = {
    "doubled token counts": lambda item: dataclasses.replace(item, scores={**item.scores, "tokens": 40}),
    "halved nats": lambda item: dataclasses.replace(item, scores={**item.scores, "nats": 20.0}),
    "other files": lambda item: dataclasses.replace(item, path=f"{item.id}.py"),
    "better answers": lambda item: dataclasses.replace(item, prediction=item.reference),
    "other ends": lambda item: dataclasses.replace(item, finish_reason="length"),
}


def with_digests(run: Path) -> Path:
    """Note in the manifest what the models answered, as a run that asks them does."""
    from codefit.evaluation.report import comparability

    made = json.loads((run / "manifest.json").read_text())
    items = {
        key: list(records.read_jsonl(run / f"predictions-{key}-heldout.jsonl", Prediction)) for key in made["models"]
    }
    made["asked"] = {"heldout": comparability.digest(items["base"])}
    made["answered"] = {"heldout": {key: comparability.answers_digest(rows) for key, rows in items.items()}}
    (run / "manifest.json").write_text(json.dumps(made))
    return run


@pytest.mark.parametrize("change", CHANGES)
def test_answers_that_were_changed_after_the_run_are_refused(change: str, tmp_path: Path) -> None:
    run = with_digests(folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8)))
    rescored(run)
    rescored(run)  # what --rescore writes is the same run
    for key in ("base", "adapted"):
        path = run / f"predictions-{key}-heldout.jsonl"
        records.write_jsonl(path, map(CHANGES[change], list(records.read_jsonl(path, Prediction))))
    with pytest.raises(UserError, match=r"predictions-base-heldout.jsonl was changed after the run"):
        rescored(run)


def test_answers_of_models_that_were_swapped_after_the_run_are_refused(tmp_path: Path) -> None:
    run = with_digests(folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8)))
    one, other = (run / f"predictions-{key}-heldout.jsonl" for key in ("base", "adapted"))
    texts = one.read_bytes(), other.read_bytes()
    one.write_bytes(texts[1])
    other.write_bytes(texts[0])
    with pytest.raises(UserError, match="was changed after the run"):
        rescored(run)


@pytest.mark.parametrize("name", ["decode", "stop", "new", "prompt", "dtype"])
def test_different_settings_are_refused_unless_allowed(name: str, tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8), settings=(SETTINGS, {**SETTINGS, name: "other"}))
    with pytest.raises(UserError, match=f"{name} other.*add --allow_different"):
        rescored(run)
    for text in rescored(run, "--allow_different").values():
        assert "No conclusion about the adapted model on held-out code: the two models used different settings" in text


@pytest.mark.parametrize(("name", "changed"), [("new", "128"), ("dtype", "bf16")])
def test_runs_with_different_settings_are_compared_only_if_allowed(name: str, changed: str, tmp_path: Path) -> None:
    other = {**SETTINGS, name: changed}
    first = folder(tmp_path / "a", BASE, guesses(ITEMS, 0.6, "a"))
    second = folder(tmp_path / "b", BASE, guesses(ITEMS, 0.8, "b"), settings=(other, other))
    command = ["--compare", str(first), str(second), "--output_dir", str(tmp_path / "both")]
    with pytest.raises(UserError, match=f"{name} {changed}.*add --allow_different"):
        benchmarking.main(command)
    assert not (tmp_path / "both").exists()
    benchmarking.main([*command, "--allow_different"])
    assert "used different settings" in (tmp_path / "both" / "report.md").read_text()


# ------------------------------------------------------------------------------------------- the primary metric


def test_the_primary_metric_is_chosen_before_the_run(tmp_path: Path) -> None:
    run = folder(tmp_path / "run", BASE, guesses(ITEMS, 0.8, "x"))
    with pytest.raises(UserError, match="the primary metric is chosen before a run, not after it"):
        rescored(run, "--primary", "chrf")
    made = json.loads((run / "manifest.json").read_text())
    made["arguments"]["primary"] = "chrf"
    (run / "manifest.json").write_text(json.dumps(made))
    assert "The adapted model is better than the base (" in rescored(run, "--primary", "chrf")["markdown"]
    content = json.loads((run / "scores.json").read_text())
    assert content["benchmarks"]["heldout"]["metrics"][0]["metric"] == "chrf"


def test_an_unknown_primary_metric_is_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarking.main(["--rescore", "--primary", "accuracy"])
    assert "--primary accuracy: choose from edit_similarity_cut, accepted" in capsys.readouterr().err


def test_a_primary_metric_that_cannot_be_computed_is_refused(tmp_path: Path) -> None:
    bare = [dataclasses.replace(item, scores={}) for item in BASE]
    run = folder(tmp_path / "run", bare, bare)
    made = json.loads((run / "manifest.json").read_text())
    made["arguments"]["primary"] = "bits_per_byte"
    (run / "manifest.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="primary metric bits_per_byte cannot be computed for every prediction"):
        rescored(run)
