"""The sentences of a report: content and stopping apart, accepted prompts counted, nothing said that is not known."""

import dataclasses
import math

import msgspec
import pytest

from codefit.evaluation.report import conclusion, terminal, wording
from codefit.evaluation.report import html as page
from codefit.evaluation.result_schema import Difference, MetricRow
from tests.support.report import ADAPTED, BASE, MODELS, compared


@pytest.mark.parametrize(
    ("base", "adapted", "text"),
    [
        (BASE, ADAPTED, "Accepted without a change: 0 → 20 of 30 prompts (better)."),
        (BASE, BASE, "Accepted without a change: 0 → 0 of 30 prompts (not resolved)."),
        (BASE[:6], ADAPTED[:6], "Accepted without a change: 0 → 4 of 6 prompts (too few)."),
    ],
)
def test_accepted_prompts_are_counted(base, adapted, text):
    content, scored = compared(base, adapted)
    assert conclusion.accepted(content.benchmarks["heldout"], MODELS) == text
    assert text in page.page(content, scored, {})
    assert text in terminal.markdown(content)


def gap(value, low, high, verdict):
    return Difference(value, low, high, 0.01, 3.0, verdict)


@pytest.mark.parametrize(
    ("content", "whole", "sentence"),
    [
        (
            gap(0.9, -1.7, 3.3, "not resolved"),
            13.9,
            "The adapted model gains 13.9 points in edit similarity on held-out code, all of them from stopping; "
            "with stopping taken out, no difference is shown (+0.9 [−1.7, +3.3]).",
        ),
        (
            gap(2.8, 0.2, 5.5, "not resolved"),
            12.7,
            "The adapted model gains 12.7 points in edit similarity on held-out code, 9.9 of them from stopping; "
            "with stopping taken out, no difference is shown (+2.8 [+0.2, +5.5]).",
        ),
        (
            gap(-2.1, -3.0, -1.2, "worse"),
            6.0,
            "The adapted model gains 6.0 points in edit similarity on held-out code, all of them from stopping; "
            "with stopping taken out, it is worse than the base (67.6): −2.1 [−3.0, −1.2].",
        ),
        (
            gap(5.0, 3.0, 7.0, "better"),
            14.0,
            "With stopping taken out, the adapted model is better than the base (67.6) on held-out code: +5.0 "
            "[+3.0, +7.0] edit similarity; stopping adds +9.0.",
        ),
    ],
)
def test_the_headline_keeps_content_and_stopping_apart(content, whole, sentence):
    running_on = [dataclasses.replace(item, prediction=item.prediction + "x = 1\n" * 9) for item in BASE]
    result = compared(running_on)[0].benchmarks["heldout"]
    gaps = {"edit_similarity_cut": content, "edit_similarity": gap(whole, whole - 2, whole + 2, "better")}
    metrics = [
        msgspec.structs.replace(row, against_base={"adapted": gaps.get(row.metric, row.against_base["adapted"])})
        for row in result.metrics
    ]
    found = conclusion.sentences(msgspec.structs.replace(result, metrics=metrics, floors={}), MODELS)
    assert found[0] == sentence


def test_a_summary_has_no_prompt_that_is_accepted_without_a_change():
    items = [dataclasses.replace(item, task="summary") for item in BASE]
    content = compared(items, items)[0]
    assert conclusion.accepted(content.benchmarks["heldout"], MODELS) == ""


def test_nothing_is_resolvable_where_all_files_agree():
    percent = MetricRow("m", "M", "%", True, 1, "m|n:1", {}, {})
    same = Difference(0.0, 0.0, 0.0, 1.0, 0.0, "not resolved")
    assert wording.resolvable(same, percent) == ""
    assert wording.resolvable(msgspec.structs.replace(same, smallest=2.31), percent) == "2.3"
    assert wording.resolvable(msgspec.structs.replace(same, smallest=math.inf), percent) == ""
