"""Signs that a model has seen the test: it writes what it cannot know letter by letter, or finds it too likely."""

from collections.abc import Mapping, Sequence

from codefit.evaluation import prompt_groups
from codefit.records import Prediction
from codefit.scoring import statistics

IN_TRAINING = "in_training"  # in the scores of a prediction: 1 if the training data hold its prompt and reference
# Chance and boilerplate put up to 1 % of innocent prompts into the training data: 2 of 200 and of 500 in three demos.
LEAKED = 0.01  # a share of prompts in the training data; more than it allows for is a finding
SURE = 0.05  # the probability of so many under that share, below which there are more than it allows for
LONG = 40  # characters of a reference that nobody guesses and that holds a name which the prompt does not
FEWEST = 5  # such references, below which nothing is concluded
VERBATIM = 0.5  # a share of them written exactly, from which on there is a finding
LIKELY = 0.5  # test nats per token below this share of the validation loss are a finding


def findings(
    by_model: Mapping[str, Sequence[Prediction]], words: Mapping[str, str], validation: Mapping[str, float]
) -> list[str]:
    """Return a sentence for every sign.

    Args:
        by_model: the predictions of each model on the same prompts.
        words: what a model is called in a sentence ("adapted model"), by key.
        validation: the last validation loss of a training in nats per token, by key, where it is known.
    """
    items = next(iter(by_model.values()))
    found = []
    leaked = sum(item.scores.get(IN_TRAINING, 0) > 0 for item in items)
    if statistics.at_least(leaked, len(items), LEAKED) < SURE:
        found.append(
            f"{leaked} of {len(items)} prompts occur in the training data with the very same answer, so memory is "
            "measured too; preprocess_data.py --verify says whether the split leaks."
        )
    hard = [
        at
        for at, item in enumerate(items)
        if len(item.reference.strip()) >= LONG and prompt_groups.new_names(item) != prompt_groups.ALL_IN_PROMPT
    ]
    for key, predictions in by_model.items():
        found += _verbatim([predictions[at] for at in hard], words[key])
        if key in validation:
            found += _too_likely(predictions, words[key], validation[key])
    return found


def _verbatim(hard: Sequence[Prediction], word: str) -> list[str]:
    hits = sum(item.prediction.strip() == item.reference.strip() for item in hard)
    if len(hard) < FEWEST or hits < VERBATIM * len(hard):
        return []
    return [
        f"The {word} writes {hits} of {len(hard)} long answers with names that the prompt does not hold letter by "
        "letter: it has probably seen the test."
    ]


def _too_likely(items: Sequence[Prediction], word: str, validation: float) -> list[str]:
    nats, tokens = (sum(item.scores.get(key, 0.0) for item in items) for key in ("nats", "tokens"))
    if not tokens or nats / tokens >= LIKELY * validation:
        return []
    return [
        f"The {word} finds the references far likelier than its own validation data ({nats / tokens:.2f} against "
        f"{validation:.2f} nats per token): it has probably seen the test."
    ]
