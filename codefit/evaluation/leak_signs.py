"""Signs that a model has seen the test data: it reproduces text that it cannot know, or finds it too likely."""

import math
from collections.abc import Mapping, Sequence

import Levenshtein

from codefit.evaluation import prompt_groups
from codefit.records import Prediction
from codefit.scoring import statistics

IN_TRAINING = "in_training"  # in the scores of a prediction: 1 if the training data hold its prompt and reference
# By chance and boilerplate, up to 1 % of clean prompts occur in the training data: 2 of 200 and of 500 in three demos.
LEAKED = 0.01  # tolerated share of prompts in the training data; significantly more is a finding
SURE = 0.05  # significance level for that
LONG = 40  # minimum characters of a reference that is hard to guess; it also has a name that the prompt does not have
FEWEST = 5  # minimum number of such references for a conclusion
VERBATIM = 0.5  # a model that reproduces this share of them is a finding
# The share by which a clean fitted model may exceed its base in this, because of a project's boilerplate.
BY_HEART = 0.05
SIMILAR = 0.9  # minimum edit similarity (0 to 1) of a reproduced reference: a few characters may differ
CERTAIN = 0.1  # a reference with fewer nats per token than this counts as memorised
LIKELY = 0.5  # test nats per token below this share of the validation loss, and of the base's, are a finding


def findings(
    by_model: Mapping[str, Sequence[Prediction]], words: Mapping[str, str], validation: Mapping[str, float]
) -> list[str]:
    """Return a sentence for every sign.

    Args:
        by_model: the predictions of each model on the same prompts.
        words: the name of each model in a sentence ("adapted model"), by key.
        validation: the last validation loss of the training in nats per token, by key, where it is known.
    """
    items = next(iter(by_model.values()))
    found = []
    leaked = sum(item.scores.get(IN_TRAINING, 0) > 0 for item in items)
    if statistics.at_least(leaked, len(items), LEAKED) < SURE:
        found.append(
            f"{leaked} of {len(items)} prompts occur in the training data with the same completion, so memory is "
            "measured too; preprocess_data.py --verify says whether the split leaks."
        )
    hard = [
        at
        for at, item in enumerate(items)
        if len(item.reference.strip()) >= LONG and prompt_groups.new_names(item) != prompt_groups.ALL_IN_PROMPT
    ]
    first = next(iter(by_model))
    known = {key: sum(_by_heart(predictions[at]) for at in hard) for key, predictions in by_model.items()}
    for key, predictions in by_model.items():
        before = None if predictions is items else known[first]
        if _is_memory(known[key], before, len(hard)):
            found.append(
                f"The {words[key]} has memorised {known[key]} of {len(hard)} long references with names that the "
                f"prompt does not contain ({words[first]} {known[first]}): it has probably seen the test."
            )
        if key in validation:
            expected = min(validation[key], _nats_per_token(items))
            found += _too_likely(predictions, words[key], expected)
    return found


def _by_heart(item: Prediction) -> bool:
    """Return whether a reference is reproduced nearly verbatim, or is nearly certain to the model."""
    written, reference = item.prediction.strip(), item.reference.strip()
    if Levenshtein.ratio(written[: len(reference)], reference, score_cutoff=SIMILAR) >= SIMILAR:
        return True
    tokens = item.scores.get("tokens", 0.0)
    return tokens > 0 and item.scores.get("nats", math.inf) < CERTAIN * tokens


def _is_memory(known: int, before: int | None, count: int) -> bool:
    """Return whether a model has memorised significantly more hard references than a model that has not seen them.

    Args:
        known: how many it has memorised.
        before: how many its base has memorised; None for the base.
        count: how many hard references there are.
    """
    if count < FEWEST:
        return False
    if known >= VERBATIM * count:
        return True
    return before is not None and statistics.at_least(known, count, before / count + BY_HEART) < SURE


def _nats_per_token(items: Sequence[Prediction]) -> float:
    """Return the nats per token of all references; infinite where they were not computed."""
    nats, tokens = (sum(item.scores.get(key, 0.0) for item in items) for key in ("nats", "tokens"))
    return nats / tokens if tokens else math.inf


def _too_likely(items: Sequence[Prediction], word: str, expected: float) -> list[str]:
    """Return the finding that a fitted model expects the references too much.

    Args:
        items: its predictions.
        word: its name in a sentence.
        expected: nats per token of its own validation data, or of the references under its base if those are fewer:
            what the base expects already is no sign of a leak in the fitting.
    """
    found = _nats_per_token(items)
    if found >= LIKELY * expected:
        return []
    return [
        f"The {word} finds the references much likelier than its base and its own validation data ({found:.2f} against "
        f"{expected:.2f} nats per token): it has probably seen the test."
    ]
