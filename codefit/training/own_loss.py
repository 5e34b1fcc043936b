"""A curriculum whose difficulty is renewed: when an epoch begins, its rows are ordered by the model's own loss."""

import json
import random
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import console, json_files
from codefit.training import curriculum


class OrderByOwnLoss(TrainerCallback):  # type: ignore[misc]
    """Orders the rows of every epoch but the first by the loss that the model has on them.

    The next step's rows are loaded already when the order is made, so they keep their place.

    Args:
        trainer: the CodeTrainer; its training data has `visits`.
        kind: name of the curriculum.
        seed: seed of the random choices.
    """

    FILE = "order.json"  # in a checkpoint: the rows of the whole run in their order

    def __init__(self, trainer: Any, kind: str, seed: int) -> None:
        self.trainer = trainer
        self.kind = kind
        self.seed = seed

    def keep(self, checkpoint: Path) -> None:
        """Write the order into a checkpoint."""
        (checkpoint / self.FILE).write_text(json.dumps(self.trainer.train_dataset.visits), encoding="utf-8")

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Restore the order from the checkpoint."""
        if checkpoint := self.trainer.losses.checkpoint:
            order = json_files.read(checkpoint / self.FILE, list[int], "add --overwrite to start again")
            self.trainer.train_dataset.visits[:] = order

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Order the rest of an epoch whose first rows come next."""
        dataset = self.trainer.train_dataset
        per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps
        rows, total, start = len(dataset.rows), len(dataset.visits), (state.global_step + 1) * per_step
        epoch = start // rows
        if start >= total or epoch == (start - per_step) // rows:
            return
        nats = self.trainer.nats_of_rows(dataset)
        ranks = [0] * rows
        for rank, row in enumerate(sorted(range(rows), key=lambda row: (nats[row], row))):
            ranks[row] = rank
        end = min((epoch + 1) * rows, total)
        chance = random.Random(f"{self.seed} {epoch}")
        rest = dataset.visits[start:end]
        chance.shuffle(rest)
        dataset.visits[start:end] = curriculum.ordered(self.kind, rest, ranks, start, total, chance)
        console.show(f"epoch {epoch + 1}: ordered by the model's own loss, {min(nats):.2f} to {max(nats):.2f} nats")
