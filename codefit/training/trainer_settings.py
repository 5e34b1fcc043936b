"""The Trainer's arguments, learning-rate schedule and optimizer, made from the settings of train.py."""

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils.import_utils import is_liger_kernel_available

from codefit.errors import UserError
from codefit.modeling import hardware
from codefit.training import scratch
from codefit.training.settings import ScheduleSettings, TrainSettings


def training_arguments(
    settings: TrainSettings, save_steps: int, work: Path, resumed: bool = False
) -> TrainingArguments:
    """Return the Trainer's arguments; a resumed run does not validate before its first step."""
    schedule, watch = settings.schedule, settings.watch
    dtype = hardware.compute_dtype()
    liger = takes_liger(is_liger_kernel_available(), hardware.device().type, schedule.torch_compile)
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=schedule.per_device_train_batch_size,
        per_device_eval_batch_size=schedule.per_device_train_batch_size,
        gradient_accumulation_steps=schedule.gradient_accumulation_steps,
        num_train_epochs=1
        if settings.curriculum.curriculum
        else schedule.num_train_epochs,  # with a curriculum the data set holds the rows of the whole run
        train_sampling_strategy="sequential" if settings.curriculum.curriculum else "random",
        max_steps=schedule.max_steps or -1,
        learning_rate=schedule.learning_rate,
        lr_scheduler_type=schedule.lr_scheduler_type,
        lr_scheduler_kwargs=scheduler_options(schedule),
        warmup_steps=schedule.warmup_steps,
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        optim=schedule.optim,
        label_smoothing_factor=schedule.label_smoothing_factor,
        logging_steps=watch.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=watch.eval_steps,
        eval_on_start=not resumed,
        save_steps=save_steps,
        save_total_limit=2,
        load_best_model_at_end=watch.load_best_model_at_end,
        metric_for_best_model=watch.metric_for_best_model,
        greater_is_better=not watch.metric_for_best_model.endswith(("loss", "bits_per_byte")),
        restore_callback_states_from_checkpoint=True,  # so that early stopping keeps its count
        use_cpu=hardware.device().type == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        activation_checkpointing=schedule.activation_checkpointing,
        torch_compile=schedule.torch_compile,
        use_liger_kernel=liger,  # for norms, rotary embeddings and gates; its fused loss would compute all logits
        liger_kernel_config={"fused_linear_cross_entropy": False},
        report_to=list(watch.report_to),
        seed=settings.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # every trained weight takes part in every step
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def takes_liger(installed: bool, device_type: str, compiled: bool) -> bool:
    """Return whether Liger's kernels are used; a compiled model gets kernels from the compiler."""
    return installed and device_type == "cuda" and not compiled


def optimizer_factory(settings: TrainSettings) -> Any:
    """Return the function that makes the optimizer of a model from scratch or of LoRA+; None for the Trainer's own."""
    schedule, ratio = settings.schedule, settings.lora.loraplus_lr_ratio
    if settings.from_scratch:
        return functools.partial(scratch.MuonWithAdamW, lr=schedule.learning_rate, weight_decay=schedule.weight_decay)
    if ratio is None:
        return None
    from peft.optimizers import create_loraplus_optimizer

    return functools.partial(  # arXiv 2402.12354: a higher learning rate for the second matrix
        create_loraplus_optimizer,
        optimizer_cls=torch.optim.AdamW,
        lr=schedule.learning_rate,
        loraplus_lr_ratio=ratio,
        loraplus_weight_decay=schedule.weight_decay,
    )


def scheduler_options(schedule: ScheduleSettings) -> dict[str, Any] | None:
    """Return the extra options of a warm-up-stable-decay schedule, which decays in the last quarter.

    Raises:
        UserError: the number of steps is not known.
    """
    if schedule.lr_scheduler_type != "warmup_stable_decay":
        return None
    if schedule.max_steps is None:
        raise UserError("--lr_scheduler_type warmup_stable_decay needs a known number of steps; add --max_steps.")
    return {"num_decay_steps": schedule.max_steps // 4, "decay_type": "1-sqrt"}
