"""Every metric against its contract, against an independent statement of its definition, and against sacrebleu."""

import importlib
import math
import pkgutil

import numpy as np
import pytest
import sacrebleu

from codefit import scoring
from codefit.evaluation import cut_metrics, task_metrics
from codefit.records import Prediction
from codefit.scoring import ngrams
from codefit.scoring.bits_per_byte import BITS_PER_BYTE
from codefit.scoring.bleu import BLEU
from codefit.scoring.chrf import CHRF
from codefit.scoring.edit_similarity import EDIT_SIMILARITY
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.metric import Metric, TextMetric
from codefit.scoring.next_line import NEXT_LINE
from codefit.scoring.perplexity import PERPLEXITY
from codefit.tasks.task import TASKS
from tests.support.metrics import common_subsequence, independent_bleu, random_pairs, random_texts

FOLDER = list(pkgutil.iter_modules(scoring.__path__))


# ------------------------------------------------------------------------------------------------ contract


METRICS = {metric.name: metric for task in TASKS for metric in task_metrics.metrics(task)}
TEXT_METRICS = {name: metric for name, metric in METRICS.items() if isinstance(metric, TextMetric)}


def test_every_metric_scores_some_task() -> None:
    modules = [importlib.import_module(f"codefit.scoring.{info.name}") for info in FOLDER] + [cut_metrics]
    found = {each.name for module in modules for each in vars(module).values() if isinstance(each, Metric)}
    assert found == set(METRICS) | {"meteor"}  # which runs/extra_scores.py computes


@pytest.mark.parametrize(
    ("found", "task"), [(["naming"], "naming"), (["naming", "line"], "completion"), ([], "completion")]
)
def test_items_of_different_tasks_are_scored_as_completions(found: list[str], task: str) -> None:
    assert task_metrics.task_of([Prediction(name, "", "", "", task=name) for name in found]) == task


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_a_signature(name: str) -> None:
    metric = METRICS[name]
    assert name == metric.name
    assert metric.label
    assert metric.unit in ("%", "")
    assert isinstance(metric.higher_is_better, bool)
    assert metric.signature(123).startswith(f"{name}|")
    assert "n:123" in metric.signature(123).split("|")


@pytest.mark.parametrize("name", TEXT_METRICS)
class TestTextMetric:
    def test_equal_texts_score_100_and_unrelated_texts_0(self, name: str) -> None:
        metric = TEXT_METRICS[name]
        text = "def f(x):\n    return x + 1  # one more\n"
        assert float(metric.value(np.array(metric.of_pair(text, text)))) == pytest.approx(100)
        assert float(metric.value(np.array(metric.of_pair("", text)))) == 0

    def test_values_of_many_sums_are_the_values_of_each(self, name: str) -> None:
        metric = TEXT_METRICS[name]
        stats = metric.of_texts(*random_pairs(1))
        assert stats.shape == (200, len(metric.of_pair("a", "b")))
        sums = stats.reshape(2, 25, 4, -1).sum(axis=2)
        values = metric.value(sums)
        assert values.shape == (2, 25)
        assert values[1, 7] == float(metric.value(sums[1, 7]))
        assert ((values >= 0) & (values <= 100 + 1e-9)).all()

    def test_gathering_many_gives_the_statistics_of_each(self, name: str) -> None:
        metric = TEXT_METRICS[name]
        predictions, references = random_pairs(2)
        one_by_one = [metric.of_pair(*pair) for pair in zip(predictions, references, strict=True)]
        assert np.array_equal(metric.of_texts(predictions, references), np.array(one_by_one))


@pytest.mark.parametrize(("predictions", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_lists_that_cannot_be_scored_are_refused(predictions: list[str], references: list[str]) -> None:
    with pytest.raises(ValueError, match="cannot be scored"):
        EXACT_MATCH.of_texts(predictions, references)


def test_the_honest_profile_holds_every_text_metric_with_its_signature() -> None:
    result = task_metrics.scores(["a b c", "x"], ["a b c", "y"])
    cut = {"edit_similarity_cut", "accepted"}  # they need the prompt, too
    names = {metric.name for metric in task_metrics.text_metrics("completion")} - cut
    assert set(result.values) == set(result.signatures) == names
    assert (result.n, result.values["exact_match"], result.values["edit_similarity"]) == (2, 50.0, 50.0)


# ------------------------------------------------------------------------------------------------ single metrics


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("", "", 100),
        ("  \n", "", 100),
        ("", "abc", 0),
        ("abc", "", 0),
        ("kitten", "sitting", 800 / 13),  # Levenshtein / longer length would give 57.1
        ("return x\n\n", "return x", 100),
        ("  return x", "return x", 100 * (1 - 2 / 18)),
        ("naïve 👋", "naïve 👋🏽", 100 * (1 - 1 / 15)),
    ],
)
def test_edit_similarity(prediction: str, reference: str, expected: float) -> None:
    assert EDIT_SIMILARITY.of_pair(prediction, reference) == (pytest.approx(expected), 1)


def test_edit_similarity_is_that_of_the_longest_common_subsequence() -> None:
    for prediction, reference in zip(*random_pairs(3), strict=True):
        a, b = prediction.rstrip(), reference.rstrip()
        expected = 200 * common_subsequence(a, b) / (len(a) + len(b)) if a or b else 100
        assert EDIT_SIMILARITY.of_pair(prediction, reference)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("prediction", "reference", "match", "line"),
    [
        ("", "", 100, 100),
        ("x = 1", "  x = 1\n", 100, 100),
        ("x = 1", "x =  1", 0, 0),
        ("X = 1", "x = 1", 0, 0),
        ("\n\n  x = 1  \r\ny", "x = 1\nz", 0, 100),
        ("x = 1\ny = 2", "x = 1", 0, 100),  # it did not stop
        ("", "x", 0, 0),
        ("x", "\n", 0, 0),
    ],
)
def test_exact_match_and_next_line(prediction: str, reference: str, match: float, line: float) -> None:
    assert EXACT_MATCH.of_pair(prediction, reference) == (match, 1)
    assert NEXT_LINE.of_pair(prediction, reference) == (line, 1)


@pytest.mark.parametrize("seed", range(5))
def test_bleu_is_the_published_formula(seed: int) -> None:
    predictions, references = random_pairs(seed)
    value = BLEU.score(predictions, references)
    assert value == pytest.approx(independent_bleu(predictions, references), rel=1e-12)


def test_bleu_counts_as_sacrebleu_does() -> None:
    predictions, references = random_pairs(6)
    counts = BLEU.of_texts(predictions, references).sum(axis=0)
    score = sacrebleu.BLEU(tokenize="none", force=True).corpus_score(predictions, [references])
    assert counts.tolist() == [*score.counts, *score.totals, score.sys_len, score.ref_len]


def test_bleu_of_the_counts_of_codexglues_sample_files() -> None:
    """Counts and value of the 100 sample predictions of CodeXGLUE's Method-Generation (evaluator prints 1.97)."""
    counts = np.array([232, 59, 20, 11, 1537, 1445, 1361, 1295, 1537, 2223], np.float64)
    assert float(BLEU.value(counts)) == pytest.approx(1.9697639729839618, rel=1e-12)


@pytest.mark.parametrize(("prediction", "reference"), [("", "a b"), ("", ""), (" \n", "")])
def test_bleu_of_nothing_is_0(prediction: str, reference: str) -> None:
    assert BLEU.score([prediction], [reference]) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_chrf_is_sacrebleus(seed: int) -> None:
    predictions, references = random_pairs(seed, 150)
    value = CHRF.score(predictions, references)
    expected = sacrebleu.CHRF(char_order=6, word_order=0, beta=2).corpus_score(predictions, [references]).score
    assert value == expected


def test_chrf_of_one_item_is_sacrebleus_sentence_score() -> None:
    metric = sacrebleu.CHRF()
    for prediction, reference in zip(*random_pairs(8), strict=True):
        value = CHRF.score([prediction], [reference])
        assert value == metric.sentence_score(prediction, [reference]).score


@pytest.mark.parametrize("case", ["many batches", "too many characters for 64 bits", "nothing but empty texts"])
def test_chrf_counts_the_same_in_batches(case: str) -> None:
    if case == "many batches":
        predictions, references = (random_texts(seed, 2 * ngrams.BATCH + 1, "ab ") for seed in (1, 2))
    elif case == "nothing but empty texts":
        predictions, references = [""] * 3, [" "] * 3
    else:
        letters = "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))
        predictions, references = [letters, letters[::-1]], [letters[:2000], letters]
    one_by_one = [CHRF.of_pair(*pair) for pair in zip(predictions, references, strict=True)]
    assert np.array_equal(CHRF.batch(predictions, references), np.array(one_by_one))


def test_perplexity_and_bits_per_byte_pool_the_corpus() -> None:
    nats_and_tokens = np.array([(2.0, 1), (4.0, 5)])
    assert float(PERPLEXITY.value(nats_and_tokens.sum(axis=0))) == pytest.approx(math.e)
    assert PERPLEXITY.value(nats_and_tokens) == pytest.approx([math.exp(2), math.exp(0.8)])
    assert float(BITS_PER_BYTE.value(np.array([8 * math.log(2), 4]))) == pytest.approx(2)
    assert not PERPLEXITY.higher_is_better
    assert not BITS_PER_BYTE.higher_is_better
