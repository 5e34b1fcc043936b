"""Comparisons of planted models: baselines, stop rules, groups, forgetting, and signs of contamination."""

import dataclasses
import html

import msgspec
import pytest

from codefit.evaluation import baselines, comparison, leak_signs, prompt_groups, truncation
from codefit.evaluation.report import conclusion, terminal
from codefit.evaluation.report import html as page
from codefit.evaluation.result_schema import Model, Role
from codefit.records import Prediction
from codefit.scoring import statistics
from tests.support.report import ADAPTED, BASE, HELD_OUT, MODELS, PROMPT, prediction, word, wrong


def written(number, text, reference=None, reason="stop", **changes):
    """Return a prediction for a unique prompt with a unique reference."""
    reference = f"value_{number} = load_everything(path_{number}, mode_{number})\n" if reference is None else reference
    item = prediction(number, text, reason, reference=reference, prompt=f"# file {word(number)}\n", **changes)
    return dataclasses.replace(item, path=f"f{number}.py")


def found(base, adapted, stored=None, models=MODELS, about=None, **options):
    by_role = {"base": base, "adapted": adapted}
    asked = {"heldout": msgspec.structs.replace(HELD_OUT, **(about or {}))}
    scored = {"heldout": {role: comparison.score_items(items) for role, items in by_role.items()}}
    answers = {"heldout": stored or {}}
    return comparison.scores(scored, models, asked, answers, seed=0, **options), scored


# ------------------------------------------------------------------------------------------- planted models

GOOD = [written(n, f"value_{n} = load_everything(path_{n}, mode_{n})\n") for n in range(30)]
RUN_ON = [dataclasses.replace(item, prediction=item.prediction + "x = 1\ny = 2\nz = 3\n" * 3) for item in GOOD]
VAGUE = [written(n, f"value = {n}\n") for n in range(30)]
BETTER = [written(n, f"value_{n} = load({n})\n") for n in range(30)]
LONGER = [
    dataclasses.replace(item, prompt="x = 1\nload(", prediction=f"{word(n)})") for n, item in enumerate(GOOD[:10])
]
MODELS_WITH_LOSS = {**MODELS, "adapted": msgspec.structs.replace(MODELS["adapted"], validation_loss=3.0)}


@pytest.mark.parametrize(
    ("base", "adapted", "options", "sentences"),
    [
        (VAGUE, BETTER, {}, []),
        (
            VAGUE,
            [dataclasses.replace(item, prediction="") for item in VAGUE],
            {},
            ["100 % of the predictions", "empty"],
        ),
        (
            [wrong(n) for n in range(30)],
            [prediction(n, PROMPT + "x = 1\n") for n in range(30)],
            {},
            ["100 % of the predictions of the adapted model contain the prompt (base model 0 %, references 0 %)."],
        ),
        (
            [dataclasses.replace(item, prediction=item.prediction + "a = 3\nb = 4\nc = 5\n" * 3) for item in BETTER],
            BETTER,
            {},
            ["all of them from stopping; with stopping taken out, it is the same as the base within 2 points ("],
        ),
        (
            VAGUE,
            GOOD,
            {},
            ["he adapted model has memorised 30 of 30 long references with names", "probably seen the test"],
        ),
        (
            [dataclasses.replace(item, scores={"nats": 36.0, "tokens": 9}) for item in VAGUE],
            [dataclasses.replace(item, scores={"nats": 9.0, "tokens": 9}) for item in BETTER],
            {"models": MODELS_WITH_LOSS},
            ["(1.00 against 3.00 nats per token): it has probably seen the test."],
        ),
        (
            [dataclasses.replace(item, scores={"nats": 9.9, "tokens": 9}) for item in VAGUE],
            [dataclasses.replace(item, scores={"nats": 9.0, "tokens": 9}) for item in BETTER],
            {"models": MODELS_WITH_LOSS},
            [],
        ),
        (
            VAGUE,
            BETTER,
            {"stored": {"nearest": [item.reference for item in VAGUE]}},
            ["the adapted model is worse than looking up training code (100.0) on held-out code, though better"],
        ),
        (
            VAGUE,
            BETTER,
            {"stored": {"nearest": ["", *(item.prediction for item in BETTER[1:])]}},
            ["No conclusion about the adapted model", "copies the nearest training item in 29 of 30 prompts where"],
        ),
        (
            [dataclasses.replace(item, scores={"in_training": 1.0}) for item in VAGUE],
            BETTER,
            {},
            ["30 of 30 prompts occur in the training data with the same completion"],
        ),
        (VAGUE, BETTER, {"stored": {"references": ["x"] * 30}}, ["The references themselves score"]),
    ],
    ids=["nothing", "empty", "echo", "stops", "verbatim", "likely", "easy", "look-up", "perhaps", "leak", "ceiling"],
)
def test_planted_models_are_reported_in_every_form(base, adapted, options, sentences):
    content, scored = found(base, adapted, **options)
    benchmark = content.benchmarks["heldout"]
    if not sentences:
        assert benchmark.findings == []
    shown = page.page(content, scored, {}), terminal.markdown(content), terminal.table(benchmark, content.models)
    for sentence in sentences:
        assert all(sentence in " ".join(html.unescape(text).split()) for text in shown)


# ------------------------------------------------------------------------------------------- stop rules


@pytest.mark.parametrize(
    ("rule", "text", "reference", "cut"),
    [
        ("as_generated", "a\nb\n", "a", "a\nb\n"),
        ("first_line", "a = 1\nb = 2", "x", "a = 1"),
        ("first_line", "\n\na = 1\nb = 2", "x", "\n\na = 1"),
        ("first_line", "", "x", ""),
        ("reference_lines", "a\nb\nc\nd", "x\ny\n", "a\nb"),
        ("reference_lines", "a", "x\ny\nz", "a"),
        ("natural_end", "a = f(\n    1,\n)\nb = 2\n", "x", "a = f(\n    1,\n)"),
        ("natural_end", "a = f(\n    1,", "x", "a = f(\n    1,"),
        ("natural_end", "if a:\n    b()\nc()\n", "x", "if a:\n    b()"),
    ],
)
def test_a_stop_rule_cuts_a_prediction(rule, text, reference, cut):
    item = Prediction("1", "import a\n", text, reference, path="a.py")
    assert truncation.texts(rule, [item]) == [cut]


@pytest.mark.parametrize(
    ("prompt", "text", "suffix", "path", "kept"),
    [
        ("x = ", "f(1)\ny = 2\n", None, "a.py", "f(1)"),
        ("x = ", "f(\n    1,\n)\ny = 2\n", None, "a.py", "f(\n    1,\n)"),
        ("def f():\n    a()\n", "    if a:\n        b()\n    c()\nd()\n", None, "a.py", "    if a:\n        b()"),
        ("fun f() {\n", "    val a = 1\n    val b = 2\n}\n", None, "a.kt", "    val a = 1"),
        ("x ", "= 1\ny = 2", None, "", "= 1"),  # no language: the end of the line
        ("begin\n", "    a\n    b\nend\n", None, "", "    a\n    b"),  # a dedent
        ("begin\n", "    a\n\n    b\n", None, "", "    a\n\n    b\n"),
        ("f(", "a)\nprint(b)\nmore", "\nprint(b)\n", "", "a)"),  # the suffix begins again
        ("f(", "a, total)", "total)\n", "a.py", "a,"),
        ("f(", "a))", ")\n", "a.py", "a))"),  # too little to be a repetition
        ("x = ", "", None, "a.py", ""),
    ],
)
def test_predictions_are_cut_as_an_editor_would(prompt, text, suffix, path, kept):
    item = Prediction("1", prompt, text, text, path=path, suffix=suffix)
    assert truncation.as_editor(item, text) == kept
    assert truncation.as_editor(item, kept) == kept
    assert comparison.score_items([item])[0].scores["accepted"] == 100  # the reference is cut alike


@pytest.mark.parametrize(
    ("task", "text", "kept"),
    [
        ("line", "    a = 1\n    b = 2\n", "    a = 1"),
        ("line", "\n    a = 1\nb", "\n    a = 1"),
        ("method", "    a = 1\n    return a\n\ndef g():\n    pass\n", "    a = 1\n    return a"),
        ("method", "    a = 1\n", "    a = 1\n"),
        ("naming", "load_file\nrest", "load_file"),
    ],
)
def test_a_task_of_one_line_or_body_is_cut_at_its_end(task, text, kept):
    item = Prediction("1", "def f():\n", text, kept, path="a.py", task=task)
    assert truncation.as_editor(item, text) == kept


@pytest.mark.parametrize("task", ["line", "method"])
def test_running_on_is_no_loss_in_a_task_of_one_line_or_body(task):
    items = [dataclasses.replace(item, task=task, prediction=f"    value = {n}\n") for n, item in enumerate(VAGUE)]
    on = [dataclasses.replace(item, prediction=item.prediction + "def g():\n    pass\n" * 3) for item in items]
    row = found(items, on)[0].benchmarks["heldout"].headline
    assert row.metric == {"line": "accepted", "method": "edit_similarity_cut"}[task]
    assert row.against_base["adapted"].value == 0


def test_the_secondary_verdicts_of_all_benchmarks_are_corrected_together():
    alone = found(VAGUE, BETTER)[0].benchmarks["heldout"]
    scored = {
        name: {"base": comparison.score_items(VAGUE), "adapted": comparison.score_items(BETTER)} for name in "abcd"
    }
    several = comparison.scores(scored, MODELS, dict.fromkeys("abcd", HELD_OUT), {}, seed=0).benchmarks
    for one, many in zip(alone.metrics, several["a"].metrics, strict=True):
        p_one, p_many = (row.against_base["adapted"].p for row in (one, many))
        assert p_many == p_one if one is alone.headline else p_many >= min(1.0, p_one)
    assert several["b"].headline.against_base["adapted"].p > several["a"].headline.against_base["adapted"].p


def test_without_a_language_there_is_no_natural_end():
    items = [Prediction("1", "a\n", "b\nc", "b")]
    assert not truncation.applies("natural_end", items)
    assert truncation.applies("natural_end", [dataclasses.replace(items[0], language="kotlin")])
    assert truncation.texts("natural_end", items) == ["b\nc"]


def test_a_base_that_does_not_stop_is_as_good_once_it_is_cut():
    stops = found(RUN_ON, GOOD)[0].benchmarks["heldout"].stop_rules
    table = {rule.rule: rule.values for rule in stops.rules}
    assert table["as_generated"]["base"] < 70
    assert table["first_line"]["base"] == table["first_line"]["adapted"] == pytest.approx(100)
    against = stops.against_base["adapted"]
    assert against.as_generated.verdict == against.cut_alike.verdict == "not resolved"


# ------------------------------------------------------------------------------------------- groups


@pytest.mark.parametrize(
    ("before", "rest", "kind"),
    [
        ("import ", "os\n", "import"),
        ("", "from a import b", "import"),
        ("    # the ", "reason", "comment"),
        ("", "// why", "comment"),
        ("", "})", "closing"),
        ("def f", "(x):\n", "signature"),
        ("", "private override fun go() {", "signature"),
        ("", "@property", "signature"),
        ("    ret", "urn x == y", "control flow"),
        ("} ", "else {", "control flow"),
        ("x = ", "f(1)", "assignment"),
        ("val names: List<String> = ", "listOf()", "assignment"),
        ("total ", "+= 1", "assignment"),
        ("n ", ":= 3", "assignment"),
        ("foo.bar(", "x=1)", "call"),
        ("assert_that(x ", "== y)", "call"),
        ("", "x + y", "other"),
        ("a ", "== b", "other"),
        ("", "\nreturn 1", "control flow"),
    ],
)
def test_the_kind_of_a_line(before, rest, kind):
    assert prompt_groups.line_kind(Prediction("1", "x\n" + before, "", rest)) == kind


@pytest.mark.parametrize(
    ("prompt", "reference", "scores", "names", "cursor"),
    [
        ("print(", "total)", {}, "some not in the prompt", "in the line"),
        ("print(total)\nprint(", "total)", {}, "all in the prompt", "in the line"),
        ("total = 1\nto", "tal", {}, "all in the prompt", "inside a word"),
        ("total = 1\nto", "ast", {}, "some not in the prompt", "inside a word"),
        ("a\n    ", "b = 1", {prompt_groups.NOT_IN_TRAINING: 1.0}, "some not in training either", "line start"),
        ("a\n", "b = 1", {prompt_groups.NOT_IN_TRAINING: 0.0}, "some not in the prompt", "line start"),
        ("a ", "= 1", {}, "all in the prompt", "in the line"),
    ],
)
def test_names_and_cursor(prompt, reference, scores, names, cursor):
    item = Prediction("1", prompt, "", reference, scores=scores)
    assert (prompt_groups.new_names(item), prompt_groups.cursor(item)) == (names, cursor)


@pytest.mark.parametrize(("size", "name"), [(1, "1 to 10"), (10, "1 to 10"), (11, "11 to 40"), (161, "over 160")])
def test_lengths(size, name):
    assert prompt_groups.length(Prediction("1", "", "", " " + "x" * size + "\n")) == name


def test_the_kind_of_place_is_that_of_the_pair():
    item = Prediction("1", "", "", "x", commit="c1", place="new file")
    assert prompt_groups.of(item)["place"] == "new file"
    assert prompt_groups.of(Prediction("1", "", "", "x"))["place"] == prompt_groups.NO_PLACE


def test_groups_add_up_and_their_verdicts_are_corrected():
    base, adapted = ([*items[:20], *LONGER] for items in (BASE, ADAPTED))
    rows = found(base, adapted)[0].benchmarks["heldout"].groups
    for kind in ("line", "length"):
        assert sum(row.n for row in rows if row.kind == kind) == 30
    assert not [row for row in rows if row.kind == "cursor"]  # all in the middle of a line: no group of their own
    for kind, group in {(row.kind, row.group) for row in rows}:
        at = [n for n, item in enumerate(base) if prompt_groups.of(item)[kind] == group]
        alone = found([base[n] for n in at], [adapted[n] for n in at])[0].benchmarks["heldout"].headline
        row = next(row for row in rows if (row.kind, row.group) == (kind, group))
        if row.against_base["adapted"].verdict != "too few":  # alone it is the primary difference, which has p / 0.8
            assert row.against_base["adapted"].p >= min(1, 0.8 * alone.against_base["adapted"].p)


def test_without_groups_there_is_no_group_table():
    content, scored = found(BASE, ADAPTED)
    assert content.benchmarks["heldout"].groups == []
    assert "all prompts are in the same group of every kind" in page.page(content, scored, {})
    assert "by group" not in terminal.markdown(content) + terminal.table(content.benchmarks["heldout"], MODELS)


def test_holm_corrects_for_the_number_of_tests():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.6, 0.5]) == [1.0, 1.0]
    assert statistics.holm([]) == []


# ------------------------------------------------------------------------------------------- baselines


def test_baselines_are_scored():
    stored = {"constant": ["value = 1\n"] * 30, "nearest": [item.reference for item in VAGUE[1:] + VAGUE[:1]]}
    rows = found(VAGUE, BETTER, stored=stored)[0].benchmarks["heldout"].baselines
    values = {row.baseline: row.values for row in rows}
    assert list(values) == ["empty", "random", "constant", "nearest", "references"]
    assert set(values["empty"].values()) == {0.0}
    assert all(value == pytest.approx(100) for value in values["references"].values())
    assert 0 < values["constant"]["edit_similarity"] < values["random"]["edit_similarity"] < 100


def test_a_random_reference_is_always_that_of_another_item():
    items = [written(n, "", reference=f"value = {n}\n") for n in range(9)]
    for seed in range(20):
        values = {row.baseline: row.values for row in baselines.rows(items, {}, seed)}
        assert values["random"]["exact_match"] == 0
        assert values["random"]["chrf"] > 50


def test_one_prompt_has_no_other_reference():
    found = [row.baseline for row in baselines.rows([written(0, "")], {}, 0)]
    assert found == ["empty", "references"]


# ------------------------------------------------------------------------------------------- forgetting, many models


def likely(items, nats):
    """Return the items of a model for which every reference has this many nats."""
    return [dataclasses.replace(item, scores={"nats": nats, "tokens": 9}) for item in items]


@pytest.mark.parametrize(
    ("base", "adapted", "verdict", "start"),
    [
        (BETTER, VAGUE, "forgot", "Forgot: the adapted model is worse on held-out code: edit similarity"),
        (likely(VAGUE, 9.0), likely(VAGUE, 9.0), "kept", "Kept: the adapted model has lost less than"),
        (VAGUE, VAGUE, "not checked", "Not checked whether the adapted model finds held-out code less likely"),
        (VAGUE, BETTER, "not checked", "Not checked"),
        (BETTER[:9], VAGUE[:9], "cannot tell", "Too few prompts (9 from 9 files; about 21 more files are needed) to"),
        (likely(VAGUE, 9.0), likely(BETTER, 8.0), "kept", "Kept: the adapted model has lost less than 2.0 on"),
        (
            likely(VAGUE, 9.0),
            likely(BETTER, 9.9),
            "forgot",
            "Forgot: the adapted model is worse on held-out code: bits per",
        ),
        (
            likely(VAGUE, 9.0),
            likely(BETTER, 9.001),
            "forgot less than the margin",
            "Forgot, but less than 0.01: the adapted model is worse on held-out code: bits per byte",
        ),
        (
            likely(VAGUE, 9.0),
            [*likely(BETTER[:15], 8.5), *likely(BETTER[15:], 9.6)],
            "cannot tell",
            "Cannot tell whether the adapted model forgot: on held-out code, bits per byte",
        ),
    ],
    ids=["worse", "same", "no nats", "better", "few", "likelier", "less likely", "a trifle", "a little less likely"],
)
def test_the_forgetting_check_has_its_own_verdicts(base, adapted, verdict, start):
    if verdict == "not checked":
        base, adapted = ([dataclasses.replace(item, scores={}) for item in items] for items in (base, adapted))
    content, scored = found(base, adapted, about={"forgetting": True})
    benchmark = content.benchmarks["heldout"]
    assert benchmark.forgetting.verdict == verdict
    assert conclusion.sentences(benchmark, MODELS)[0].startswith(start)
    assert start in page.page(content, scored, {})
    assert f"forgetting: {verdict}" in terminal.table(benchmark, MODELS)


def test_stopping_does_not_hide_what_was_forgotten():
    """The base generates the right line and does not stop; the adapted model stops after a worse one."""
    base = likely([dataclasses.replace(item, prediction=item.reference + "x = 1\n" * 40) for item in VAGUE], 9.0)
    adapted = likely(BETTER, 9.0)
    benchmark = found(base, adapted, about={"forgetting": True})[0].benchmarks["heldout"]
    uncut = next(row for row in benchmark.metrics if row.metric == "edit_similarity")
    assert uncut.against_base["adapted"].value > 0
    assert benchmark.forgetting.verdict == "forgot"


def test_exact_match_is_kept_only_within_a_share_of_the_bases_hits():
    """All four hits of a hundred prompts are lost: few points, but everything that was there."""
    base = likely([written(n, "x\n") for n in range(300)], 9.0)
    right = [
        dataclasses.replace(item, prediction=item.reference) if n % 60 == 0 else item for n, item in enumerate(base)
    ]
    benchmark = found(right, base, about={"forgetting": True}, primary="exact_match")[0].benchmarks["heldout"]
    assert benchmark.headline.against_base["adapted"].low > -6
    assert benchmark.forgetting.verdict == "cannot tell"


def test_several_models_share_a_table_and_are_compared_with_the_base():
    models = {
        **MODELS,
        "adapted-2": Model(name="m", label="merged", role=Role.ADAPTED),
        "few-shot": Model(name="b", label="3-shot base", role=Role.FEW_SHOT),
    }
    by_role = {"base": VAGUE, "adapted": BETTER, "adapted-2": GOOD, "few-shot": VAGUE}
    scored = {"heldout": {role: comparison.score_items(items) for role, items in by_role.items()}}
    content = comparison.scores(scored, models, {"heldout": HELD_OUT}, {}, seed=0)
    benchmark = content.benchmarks["heldout"]
    against = benchmark.headline.against_base
    assert (against["adapted"].verdict, against["adapted-2"].verdict) == ("better", "no conclusion")
    assert against["few-shot"].value == 0
    table = terminal.table(benchmark, models)
    assert max(map(len, table.splitlines())) <= 100
    for text in (table, terminal.markdown(content), page.page(content, scored, {})):
        assert all(word in text for word in ("merged", "3-shot base"))
    assert (
        "No conclusion about the merged model on held-out code: the merged model has memorised 30 of 30 long references"
        in " ".join(conclusion.sentences(benchmark, models))
    )


def test_stop_rules_groups_and_look_ups_are_shown_for_every_adapted_model():
    names = ("one", "a-second-adapter-of-forty-letters-in-all", "third")
    models = {"base": MODELS["base"]} | {
        role: Model(name=name, label=name, role=Role.ADAPTED)
        for role, name in zip(("adapted", "adapted-2", "adapted-3"), names, strict=True)
    }
    running_on = [dataclasses.replace(item, prediction=item.prediction + "x = 1\n" * 3) for item in BETTER]
    answers = {"base": running_on, "adapted": VAGUE, "adapted-2": BETTER, "adapted-3": VAGUE}
    by_role = {role: [*items, *LONGER] for role, items in answers.items()}
    scored = {"heldout": {role: comparison.score_items(items) for role, items in by_role.items()}}
    stored = {"heldout": {"nearest": [item.reference for item in by_role["base"]]}}
    content = comparison.scores(scored, models, {"heldout": HELD_OUT}, stored, seed=0)
    table = terminal.table(content.benchmarks["heldout"], models)
    assert max(map(len, table.splitlines())) <= 100
    for text in (table, terminal.markdown(content), page.page(content, scored, {})):
        for name in names:
            assert f"{name} as generated: " in " ".join(text.split())
    for name in names:
        assert f"{name} by group: better in " in " ".join(table.split())
        assert f"Similarity, cut of {name} by group" in page.page(content, scored, {})
    group = content.benchmarks["heldout"].groups[0]
    assert {key: against.verdict for key, against in group.against_base.items()} == {
        "adapted": "worse",
        "adapted-2": "not resolved",
        "adapted-3": "worse",
    }
    lost = "third by group: better in 0 of 4, worse in 2 (kind of line assignment, cursor line start)"
    assert lost in " ".join(table.split())


def test_the_compat_profile_adds_codexglues_numbers_to_every_benchmark():
    content, _ = found(VAGUE, GOOD, profile="compat")
    compat = content.benchmarks["heldout"].compat
    assert compat["adapted"].values["edit_similarity"] == 100.0
    assert compat["base"].signatures["bleu"].endswith("sacrebleu 2.6.0")
    assert found(VAGUE, GOOD)[0].benchmarks["heldout"].compat is None


@pytest.mark.parametrize(("leaked", "found"), [(0, 0), (1, 0), (2, 1), (30, 1)])
def test_a_few_prompts_in_the_training_data_by_chance_are_not_a_leak(leaked, found):
    items = [dataclasses.replace(item, scores={"in_training": float(n < leaked)}) for n, item in enumerate(VAGUE)]
    assert len(leak_signs.findings({"base": items}, {"base": "base model"}, {})) == found


def test_a_difference_of_percentages_is_at_most_100():
    two = [dataclasses.replace(item, path=f"f{n // 15}.py") for n, item in enumerate(GOOD)]
    half = [dataclasses.replace(item, prediction="") if n < 15 else item for n, item in enumerate(two)]
    for row in found(half, two)[0].benchmarks["heldout"].metrics:
        if row.unit == "%":
            assert -100 <= row.against_base["adapted"].low < 0
            assert row.against_base["adapted"].high <= 100
            assert row.against_base["adapted"].verdict == "too few"
