"""Completions of a fixed held-out sample during training, scored as a user of the model would see them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from codefit.encoding import Encoder
from codefit.generation import batched, stopping
from codefit.modeling import loading
from codefit.records import Pair
from codefit.scoring import at_validation
from codefit.scoring.metric import TextMetric

NEW_TOKENS = 64  # as in benchmarking.py


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Pairs to complete, and the encoder that makes their prompts as benchmarking.py does."""

    pairs: Sequence[Pair]
    encoder: Encoder

    @property
    def metrics(self) -> list[TextMetric]:
        """The metrics of the pairs' tasks."""
        return at_validation.metrics(pair.task for pair in self.pairs)

    def texts(self, model: Any) -> list[str]:
        """Return greedy completions of the pairs that end at the tasks' stop condition.

        The model has to be in evaluation mode.
        """
        room = loading.context_of(model) - self.encoder.max_prompt_tokens
        stop = stopping.of_tasks(pair.task for pair in self.pairs)
        completions = batched.generate(
            model,
            [self.encoder.pair_ids(pair) for pair in self.pairs],
            max_new_tokens=max(1, min(NEW_TOKENS, room)),
            eos_ids=self.encoder.eos_ids,
            pad_id=self.encoder.pad_id,
            stop=stopping.rule(stop, self.encoder),
        )
        return [stopping.text_until(stop, self.encoder.decode(completion.ids)) for completion in completions]

    def scores(self, texts: Sequence[str]) -> dict[str, float]:
        """Return the value of each metric, in percent, for the completions of the pairs."""
        return at_validation.scores([pair.task for pair in self.pairs], texts, [pair.completion for pair in self.pairs])
