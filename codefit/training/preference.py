"""Preference training of an adapter by TRL's DPOTrainer: direct preference optimisation (arXiv 2305.18290).

The adapter as it was is the reference model. The cross entropy of the chosen completions is added with the weight 1
(arXiv 2404.19733): by itself, DPO often makes the chosen completions less likely too, only less so than the others.
TRL is not among the requirements; REQUIREMENT is the version that the tests use.
"""

import dataclasses
import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from codefit import private_apis
from codefit.errors import UserError
from codefit.modeling import hardware

REQUIREMENT = "trl==1.16.0"


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """Token ids of a prompt and of two completions, each with end-of-sequence where it has a natural end."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


@dataclasses.dataclass(frozen=True, slots=True)
class PreferenceSettings:
    """The settings of preference training; `max_steps` is None for one pass over the choices."""

    learning_rate: float
    beta: float
    per_device_train_batch_size: int
    max_steps: int | None
    logging_steps: int
    seed: int


def refuse_without_trl() -> None:
    """Raise UserError if TRL is not installed."""
    if importlib.util.find_spec("trl") is None:
        raise UserError(f"preference training needs TRL, which is not installed; run `pip install {REQUIREMENT}`.")


def train(
    model: Any, tokenizer: Any, choices: Sequence[Choice], settings: PreferenceSettings, work: Path
) -> list[dict[str, float]]:
    """Train the adapter of a PEFT model in place, and return what was logged.

    Args:
        model: with one adapter, `default`.
        tokenizer: the model's.
        choices: what to prefer to what.
        settings: of the training.
        work: a folder in which the trainer may write.
    """
    import datasets
    from trl import DPOConfig, DPOTrainer

    dtype = hardware.compute_dtype()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TRL's own names of settings
        options = DPOConfig(
            output_dir=str(work),
            loss_type=["sigmoid", "sft"],
            loss_weights=[1.0, 1.0],
            beta=settings.beta,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="linear",
            per_device_train_batch_size=settings.per_device_train_batch_size,
            num_train_epochs=1,
            max_steps=settings.max_steps or -1,
            max_length=None,  # the encoder has kept prompts and completions to their limits
            gradient_checkpointing=False,
            use_cpu=hardware.device().type == "cpu",
            bf16=dtype == torch.bfloat16,
            fp16=dtype == torch.float16,
            logging_steps=settings.logging_steps,
            save_strategy="no",
            report_to="none",
            seed=settings.seed,
            dataloader_pin_memory=torch.cuda.is_available(),
        )
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_" in name)
    trainer = private_apis.without_encoding(DPOTrainer)(
        model=model,
        args=options,
        train_dataset=datasets.Dataset.from_list([dataclasses.asdict(choice) for choice in choices]),
        processing_class=tokenizer,
    )
    trainer.train()
    model.delete_adapter("ref")  # the adapter as it was
    return list(trainer.state.log_history)
