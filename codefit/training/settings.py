"""Typed settings of a training run, in narrow parts. Does not import torch.

The fields are named after the flags. train.py makes TrainSettings from its flags; `settle` decides once what they leave
open. The code after that takes the narrow parts.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codefit.errors import UserError
from codefit.records import MAX_PROMPT_TOKENS

ROW_TOKENS = 1024  # tokens per packed row, where the model's context window is not shorter
SAVE_STEPS = 200
RATE_TIMES_WIDTH = 0.6  # of adapters: docs/training.md says how it was found
# What a schedule is where the command says nothing else. The learning rate of adapters follows the width of the base
# (`adapter_learning_rate`); this one is for a base whose width is not known.
OF_ADAPTERS: dict[str, float] = {
    "learning_rate": 1e-3,
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "num_train_epochs": 3.0,
}
OF_WHOLE_MODELS: dict[str, float] = {
    "learning_rate": 2e-4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "num_train_epochs": 1.0,
}
# Validation prompts that are completed: pairs are scored, continuations of documents are only kept to be read.
EVAL_PREDICTIONS, EVAL_CONTINUATIONS = 128, 3
SVD_INITS = ("olora", "pissa", "pissa_niter_16", "corda")  # they move a part of the base's weights into the adapter


@dataclasses.dataclass(frozen=True, slots=True)
class OutputSettings:
    """Where the result is written, and whether anything is written at all."""

    output_dir: Path
    overwrite: bool
    dry_run: bool
    preview: int | None
    hf_repository: str | None
    private: bool
    hub_strategy: str
    overfit: bool

    @property
    def only_looks(self) -> bool:
        """Whether nothing is trained or written."""
        return bool(self.preview or self.dry_run)

    @property
    def keeps_nothing(self) -> bool:
        """Whether the run has no output: it only looks, or only checks."""
        return self.only_looks or self.overfit


@dataclasses.dataclass(frozen=True, slots=True)
class DataSettings:
    """The training and replay data, and the size of the validation sample."""

    dataset: str
    replay: str | None
    replay_ratio: float
    validation_samples: int
    fim_rate: float  # only for a model from scratch
    train_on_prompt: float  # only for pairs: share of the loss that is of the tokens of prompts


@dataclasses.dataclass(frozen=True, slots=True)
class LoraSettings:
    """The LoRA adapter."""

    lora_r: int
    lora_alpha: float
    lora_dropout: float
    lora_target_modules: tuple[str, ...]
    use_rslora: bool
    use_dora: bool
    init_lora_weights: str
    loraplus_lr_ratio: float | None

    @property
    def changes_base(self) -> bool:
        """Whether the initialisation moves a part of the base's weights into the adapter."""
        return self.init_lora_weights in SVD_INITS


@dataclasses.dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """Batch size, length, learning-rate schedule and optimizer settings."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    num_train_epochs: float
    max_steps: int | None
    learning_rate: float
    lr_scheduler_type: str
    warmup_steps: float
    weight_decay: float
    max_grad_norm: float
    optim: str
    label_smoothing_factor: float
    activation_checkpointing: bool
    torch_compile: bool

    @property
    def moments_bytes(self) -> int:
        """Bytes of AdamW's two moments per trained weight: float32, or 8 bits."""
        return 2 if "8bit" in self.optim else 8

    def rows_per_step(self, processes: int) -> int:
        """Return the number of rows per optimizer step, on all processes together."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * processes


@dataclasses.dataclass(frozen=True, slots=True)
class WatchSettings:
    """Logging, validation and checkpoints."""

    logging_steps: int
    eval_steps: int
    save_minutes: float
    eval_predictions: int
    load_best_model_at_end: bool
    metric_for_best_model: str
    early_stopping_patience: int | None
    report_to: tuple[str, ...]
    profile: bool


@dataclasses.dataclass(frozen=True, slots=True)
class NewModelSettings:
    """The shape of a model from scratch, and its tokenizer."""

    vocab_size: int
    tokenizer_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    dropout: float


@dataclasses.dataclass(frozen=True, slots=True)
class CurriculumSettings:
    """The order in which a model from scratch sees its documents; `curriculum` is None for random order."""

    curriculum: str | None
    curriculum_by: str
    curriculum_model: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class SearchSettings:
    """A hyperparameter search; both are None without one."""

    trials: int | None
    search: tuple[str, ...] | None


@dataclasses.dataclass(frozen=True, slots=True)
class LeftOpen:
    """Settings that a command may leave open (None); `settle` decides them."""

    max_prompt_tokens: int | None
    max_length: int | None
    save_steps: int | None
    load_in_4bit: bool | None


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """The settings that a command may leave open, after `settle` has decided them."""

    max_prompt_tokens: int
    max_length: int
    save_steps: int
    load_in_4bit: bool


@dataclasses.dataclass(frozen=True, slots=True)
class TrainSettings:
    """All settings of a command."""

    model_name_or_path: str
    revision: str | None
    from_scratch: bool
    full_finetuning: bool
    osf_effective_rank: float | None
    seed: int
    output: OutputSettings
    data: DataSettings
    lora: LoraSettings
    schedule: ScheduleSettings
    watch: WatchSettings
    new_model: NewModelSettings
    curriculum: CurriculumSettings
    search: SearchSettings
    left_open: LeftOpen

    @property
    def whole(self) -> bool:
        """Whether all weights are trained, so that the result is a full model."""
        return self.from_scratch or self.full_finetuning


PARTS = {
    "output": OutputSettings,
    "data": DataSettings,
    "lora": LoraSettings,
    "schedule": ScheduleSettings,
    "watch": WatchSettings,
    "new_model": NewModelSettings,
    "curriculum": CurriculumSettings,
    "search": SearchSettings,
    "left_open": LeftOpen,
}


def of_flags(flags: Mapping[str, Any]) -> TrainSettings:
    """Return the settings for the values of train.py's flags, given by name."""
    frozen = {name: tuple(value) if isinstance(value, list) else value for name, value in flags.items()}
    whole = frozen["from_scratch"] or frozen["full_finetuning"]
    by_kind = OF_WHOLE_MODELS if whole else OF_ADAPTERS
    by_kind = by_kind | {"eval_predictions": EVAL_CONTINUATIONS if frozen["from_scratch"] else EVAL_PREDICTIONS}
    frozen |= {name: value for name, value in by_kind.items() if frozen[name] is None}

    def taken(kind: Any) -> dict[str, Any]:
        return {field.name: frozen[field.name] for field in dataclasses.fields(kind) if field.name in frozen}

    parts: dict[str, Any] = {name: kind(**taken(kind)) for name, kind in PARTS.items()}
    return TrainSettings(**taken(TrainSettings) | parts)


def adapter_learning_rate(hidden_size: int | None) -> float:
    """Return the default learning rate for adapters of a base with hidden states of this size.

    It falls with the width, as the best rate of Adam does for the matrices of a network (arXiv 2203.03466, table 3),
    and has one significant digit.

    Args:
        hidden_size: None where it is not known.
    """
    return float(f"{RATE_TIMES_WIDTH / hidden_size:.0e}") if hidden_size else OF_ADAPTERS["learning_rate"]


def follow_width(settings: TrainSettings, hidden_size: int | None) -> TrainSettings:
    """Return the settings with the default learning rate for the width of the base.

    Args:
        settings: the settings of a command that trains an adapter and names no learning rate.
        hidden_size: size of the base's hidden states; None where it is not known.
    """
    schedule = dataclasses.replace(settings.schedule, learning_rate=adapter_learning_rate(hidden_size))
    return dataclasses.replace(settings, schedule=schedule)


def settle(settings: TrainSettings, prepared: Mapping[str, Any], context: int, on_gpu: bool) -> Settled:
    """Decide the settings that the command left open.

    Args:
        settings: the settings of the command.
        prepared: the arguments with which the data set was prepared; empty where they are not known.
        context: the base's context window in tokens; sys.maxsize for a model from scratch.
        on_gpu: whether training runs on a GPU.

    Raises:
        UserError: --max_length is larger than the base's context window.
    """
    asked, watch = settings.left_open, settings.watch
    if asked.max_length and asked.max_length > context:
        raise UserError(
            f"the model's context window has {context} tokens, fewer than --max_length {asked.max_length}; lower it."
        )
    in_4bit = asked.load_in_4bit
    if in_4bit is None:
        can_be = not (settings.whole or settings.lora.changes_base)
        in_4bit = can_be and (on_gpu or settings.lora.init_lora_weights == "loftq")
    return Settled(
        max_prompt_tokens=asked.max_prompt_tokens or prepared.get("max_prompt_tokens") or MAX_PROMPT_TOKENS,
        max_length=asked.max_length or min(ROW_TOKENS, context),
        save_steps=asked.save_steps or (watch.eval_steps if watch.load_best_model_at_end else SAVE_STEPS),
        load_in_4bit=in_4bit,
    )
