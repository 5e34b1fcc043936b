"""Completions of a fixed held-out sample during training, scored as a user of the model would see them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from codefit.encoding import Encoder
from codefit.generation import batched, stopping
from codefit.modeling import loading
from codefit.records import Pair
from codefit.scoring.edit_similarity import EDIT_SIMILARITY
from codefit.scoring.exact_match import EXACT_MATCH
from codefit.scoring.next_line import NEXT_LINE

METRICS = (EDIT_SIMILARITY, EXACT_MATCH, NEXT_LINE)  # the same for every task, so that logs have the same columns
NEW_TOKENS = 64  # as in benchmarking.py


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Pairs to complete, and the encoder that makes their prompts as benchmarking.py does."""

    pairs: Sequence[Pair]
    encoder: Encoder

    def scores(self, model: Any) -> dict[str, float]:
        """Return METRICS, in percent, of greedy completions that end at the tasks' stop condition.

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
        texts = [stopping.text_until(stop, self.encoder.decode(completion.ids)) for completion in completions]
        references = [pair.completion for pair in self.pairs]
        return {metric.name: metric.score(texts, references) for metric in METRICS}
