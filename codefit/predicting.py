"""A fixed held-out sample that the model completes while it trains: what a user of the model would see."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from codefit import generation, models, scoring
from codefit.encoding import Encoder
from codefit.records import Pair

METRICS = ("edit_similarity", "exact_match", "next_line")
NEW_TOKENS = 64  # as in benchmarking.py


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Pairs to complete, and the encoder that makes their prompts as benchmarking.py makes them."""

    pairs: Sequence[Pair]
    encoder: Encoder

    def scores(self, model: Any) -> dict[str, float]:
        """Return METRICS in percent of the model's greedy completions; the model is in evaluation mode."""
        room = models.context_of(model) - self.encoder.max_prompt_tokens
        completions = generation.generate(
            model,
            [self.encoder.pair_ids(pair) for pair in self.pairs],
            max_new_tokens=max(1, min(NEW_TOKENS, room)),
            eos_ids=self.encoder.eos_ids,
            pad_id=self.encoder.pad_id,
        )
        texts = [self.encoder.decode(completion.ids) for completion in completions]
        references = [pair.completion for pair in self.pairs]
        table = scoring.text_metrics()
        gathered = {name: scoring.gather(table[name], texts, references).sum(axis=0) for name in METRICS}
        return {name: float(table[name].value(sums)) for name, sums in gathered.items()}
