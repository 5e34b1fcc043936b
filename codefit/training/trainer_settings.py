"""The flags of train.py as what the Trainer calls them, its schedule and its optimizer."""

import argparse
import functools
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments
from transformers.utils.import_utils import is_liger_kernel_available

from codefit.errors import UserError
from codefit.modeling import hardware
from codefit.training import scratch


def training_arguments(args: argparse.Namespace, work: Path, resumed: bool = False) -> TrainingArguments:
    """Return the flags of train.py as the Trainer's settings; a resumed run does not validate before its first step."""
    dtype = hardware.compute_dtype()
    liger = takes_liger(is_liger_kernel_available(), hardware.device().type, args.torch_compile)
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=args.per_device_train_batch_size,
        per_device_eval_batch_size=args.per_device_train_batch_size,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        num_train_epochs=1 if args.curriculum else args.num_train_epochs,  # its rows hold all visits of the run
        train_sampling_strategy="sequential" if args.curriculum else "random",
        max_steps=args.max_steps or -1,
        learning_rate=args.learning_rate,
        lr_scheduler_type=args.lr_scheduler_type,
        lr_scheduler_kwargs=scheduler_options(args),
        warmup_steps=args.warmup_steps,
        weight_decay=args.weight_decay,
        max_grad_norm=args.max_grad_norm,
        logging_steps=args.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=args.eval_steps,
        eval_on_start=not resumed,
        save_steps=args.save_steps,
        save_total_limit=2,
        load_best_model_at_end=args.load_best_model_at_end,
        metric_for_best_model=args.metric_for_best_model,
        greater_is_better=not args.metric_for_best_model.endswith(("loss", "bits_per_byte")),
        restore_callback_states_from_checkpoint=True,  # the patience that is left
        use_cpu=hardware.device().type == "cpu",
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        activation_checkpointing=args.activation_checkpointing,
        torch_compile=args.torch_compile,
        use_liger_kernel=liger,  # norms, rotary positions and gates; its fused loss would compute all logits
        liger_kernel_config={"fused_linear_cross_entropy": False},
        report_to=args.report_to,
        seed=args.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=False,  # every trained weight takes part in every step
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def takes_liger(installed: bool, device_type: str, compiled: bool) -> bool:
    """Return whether Liger's kernels are used; in a compiled model the compiler makes its own."""
    return installed and device_type == "cuda" and not compiled


def optimizer_factory(args: argparse.Namespace) -> Any:
    """Return what makes the optimizer of a model from scratch or of LoRA+; None where the Trainer's own is meant."""
    if args.from_scratch:
        return functools.partial(scratch.MuonWithAdamW, lr=args.learning_rate, weight_decay=args.weight_decay)
    if args.loraplus_lr_ratio is None:
        return None
    from peft.optimizers import create_loraplus_optimizer

    return functools.partial(  # arXiv 2402.12354: the second matrix learns faster
        create_loraplus_optimizer,
        optimizer_cls=torch.optim.AdamW,
        lr=args.learning_rate,
        loraplus_lr_ratio=args.loraplus_lr_ratio,
        loraplus_weight_decay=args.weight_decay,
    )


def scheduler_options(args: argparse.Namespace) -> dict[str, Any] | None:
    """Return what a warm-up-stable-decay schedule needs beside the Trainer's flags: the last quarter decays.

    Raises:
        UserError: the number of steps is not known.
    """
    if args.lr_scheduler_type != "warmup_stable_decay":
        return None
    if args.max_steps is None:
        raise UserError("warmup_stable_decay needs to know its length; add --max_steps.")
    return {"num_decay_steps": args.max_steps // 4, "decay_type": "1-sqrt"}
