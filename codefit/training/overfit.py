"""The check of train.py --overfit: can a few examples be learned by heart?

If they cannot, something in between is wrong: a shape, the labels, the packing, the end of a sample, or the learning
rate. Loss and outputs are both looked at: with labels that are shifted wrongly the loss still falls.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from codefit import console
from codefit.encoding import Encoder, Sample
from codefit.errors import UserError
from codefit.generation import batched
from codefit.modeling import loading
from codefit.training import sample_isolation
from codefit.training.packing import PackedRows
from codefit.training.settings import TrainSettings
from codefit.training.trainer import make_trainer

EXAMPLES = 16
LOOKED_AT = 64  # samples of which the shortest are taken, so that a step takes little time
STEPS = 300  # at most
GOAL = 0.01  # nats per label: training ends after three steps with such a loss
LEARNED = 0.1  # nats per label: a larger loss is a failure
NEW_TOKENS = 64


def settings_of(settings: TrainSettings) -> TrainSettings:
    """Return the settings with a constant learning rate and no validation, checkpoint, replay or curriculum."""
    schedule = dataclasses.replace(
        settings.schedule,
        max_steps=STEPS,
        lr_scheduler_type="constant",
        warmup_steps=0,
        label_smoothing_factor=0.0,
    )
    watch = dataclasses.replace(
        settings.watch,
        logging_steps=1,
        eval_steps=STEPS + 1,
        save_minutes=math.inf,
        load_best_model_at_end=False,
        early_stopping_patience=None,
        report_to=("none",),
        profile=False,
    )
    order = dataclasses.replace(settings.curriculum, curriculum=None)
    return dataclasses.replace(settings, schedule=schedule, watch=watch, curriculum=order)


def chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Return the shortest of the first samples, no two of them with the same prompt."""
    different = {sample.ids[: prompt_length(sample)].tobytes(): sample for sample in samples[:LOOKED_AT]}
    return sorted(different.values(), key=lambda sample: len(sample.ids))[:EXAMPLES]


def prompt_length(sample: Sample) -> int:
    """Return how many tokens of a sample are given when it is completed: half of one that is trained as a whole."""
    return sample.start or len(sample.ids) // 2


class StopAtGoal(TrainerCallback):  # type: ignore[misc]
    """Ends a training whose loss is near zero, and keeps it from saving checkpoints."""

    def __init__(self) -> None:
        self.reached = 0

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Count the steps in a row that reach the goal."""
        if logs and "loss" in logs:
            self.reached = self.reached + 1 if logs["loss"] <= GOAL else 0
            control.should_training_stop = control.should_training_stop or self.reached >= 3

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save nothing, also not at the end."""
        control.should_save = False


def check(
    settings: TrainSettings, model: Any, encoder: Encoder, samples: Sequence[Sample], max_length: int, work: Path
) -> None:
    """Train on a few samples, and say whether the model then completes them as it was taught.

    Args:
        settings: made by `settings_of`.
        model: the model with the weights to be trained.
        encoder: its encoder.
        samples: training samples.
        max_length: tokens per row.
        work: an empty folder.

    Raises:
        UserError: the loss stays large, or an output differs.
    """
    few = chosen(samples)
    isolates = sample_isolation.may_pack(model)
    train, again = (PackedRows(few, max_length, encoder.pad_id, isolates=isolates) for _ in range(2))
    trainer = make_trainer(settings, STEPS + 1, work, model, train, again, resumed=True)
    trainer.add_callback(StopAtGoal())
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after, steps = trainer.evaluate()["eval_loss"], trainer.state.global_step
    examples, taken = console.counted(len(few), "example"), console.counted(steps, "step")
    console.show(f"{examples}, {taken}: loss {before:.4f} -> {after:.4f} nats per token")
    if after > LEARNED:
        raise UserError(
            f"{examples} could not be learned by heart: the loss is {after:.3f} nats per token after {taken}; "
            "raise --learning_rate, and if that does not help, look at the labels with --preview."
        )
    trained = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False).eval()
    with trainer.compute_loss_context_manager():
        wrong = list(differing(trained, encoder, few))
    if wrong:
        name, wanted, found = wrong[0]
        raise UserError(
            f"{len(wrong)} of {len(few)} greedy outputs differ from their references although the loss is {after:.4f}: "
            f"that of {name} is {found!a} and should be {wanted!a}; look at its tokens and labels with --preview."
        )
    console.show(f"all {len(few)} greedy outputs match their references")


def differing(model: Any, encoder: Encoder, samples: Sequence[Sample]) -> Iterable[tuple[str, str, str]]:
    """Yield source, reference and greedy output of each sample whose output differs, its end included."""
    prompts = [sample.ids[: prompt_length(sample)].tolist() for sample in samples]
    room = loading.context_of(model) - max(map(len, prompts))
    done = batched.generate(
        model, prompts, max_new_tokens=min(NEW_TOKENS, room), eos_ids=encoder.eos_ids, pad_id=encoder.pad_id
    )
    for sample, completion in zip(samples, done, strict=True):
        wanted = sample.ids[prompt_length(sample) :].tolist()[: min(NEW_TOKENS, room)]
        found = completion.ids + [encoder.eos_id] * (completion.finish_reason == "stop")
        if found[: len(wanted)] != wanted:
            yield sample.source, shown(encoder, wanted), shown(encoder, found)


def shown(encoder: Encoder, ids: Sequence[int]) -> str:
    """Return tokens as text, with the end of the sequence written out."""
    ended = bool(ids) and ids[-1] == encoder.eos_id
    return encoder.decode(ids[:-1] if ended else ids) + "<end>" * ended
