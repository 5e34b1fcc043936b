"""The flags of train.py, ordered by how often they are needed. Does not import torch, so --help stays fast."""

import argparse
from pathlib import Path
from typing import Any

from codefit import cli, records
from codefit.training import flag_checks, run_folder, scratch_flags
from codefit.training.settings import (
    EVAL_CONTINUATIONS,
    EVAL_PREDICTIONS,
    OF_ADAPTERS,
    OF_WHOLE_MODELS,
    RATE_TIMES_WIDTH,
    ROW_TOKENS,
    SVD_INITS,
)

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay")
OPTIMIZERS = ("adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit")
INITS = ("default", "gaussian", "orthogonal", "loftq", "eva", *SVD_INITS)
BEST = ("loss", "bits_per_byte", "accuracy", "replay_loss", *flag_checks.PREDICTED)
POSITIVE = cli.number(int, 1)


def add(parser: cli.Parser) -> None:
    """Add all flags to the parser of train.py."""
    flag = parser.add_argument
    flag("--dataset", default=records.PREPARED, help="folder of preprocess_data.py, or a Hub data set")
    flag("--model_name_or_path", default="microsoft/phi-1_5", help="base model: a folder, a GGUF file or a Hub id")
    flag("--output_dir", type=Path, default=Path(run_folder.OUTPUT), help="folder for the adapter or model")
    flag("--preview", type=POSITIVE, metavar="N", help="show N examples as they are trained, and exit")
    flag("--overfit", action="store_true", help="only check that 16 examples can be learned by heart; keeps nothing")
    cli.add_output_flags(parser)
    flag("--full_finetuning", action="store_true", help="train all weights instead of an adapter")
    flag("--seed", type=cli.number(int, 0), default=0, help="seed for initialisation, data order and dropout")
    flag("--revision", help="commit, tag or branch of the base model on the Hub")
    flag("--hf_repository", help="push to this Hub repository; without it nothing leaves this machine")
    flag("--private", action="store_true", help="push only to a private repository; a new one is created private")
    flag(
        "--hub_strategy",
        choices=("end", "checkpoint"),
        default="end",
        help="checkpoint: also push the newest checkpoint while training, so that another machine can continue",
    )
    _add_schedule(parser.add_argument_group("schedule (named as in the Hugging Face Trainer)"))
    _add_adapter(parser.add_argument_group("adapter"))
    _add_rare_schedule(parser.rare_group("schedule in detail"))
    _add_rare_adapter(parser.rare_group("adapter variants"))
    _add_watching(parser.rare_group("logging, validation and checkpoints"))
    _add_replay(parser.rare_group("against forgetting"))
    scratch_flags.add(parser.rare_group("from scratch"))
    scratch_flags.add_search(parser.rare_group("hyperparameter search"))


def _by_kind(name: str) -> str:
    return f"(default: {OF_ADAPTERS[name]:g}, or {OF_WHOLE_MODELS[name]:g} where all weights are trained)"


def _add_schedule(group: Any) -> None:
    flag = group.add_argument
    flag(
        "--learning_rate",
        type=cli.number(float, 1e-12),
        help=f"peak learning rate (default: {RATE_TIMES_WIDTH:g} / size of the base's hidden states, or "
        f"{OF_WHOLE_MODELS['learning_rate']:g} where all weights are trained)",
    )
    flag(
        "--num_train_epochs",
        type=cli.number(float, 1e-3),
        help=f"passes over the data, unless --max_steps is given {_by_kind('num_train_epochs')}",
    )
    flag("--max_steps", type=POSITIVE, help="number of optimizer steps")
    flag(
        "--per_device_train_batch_size",
        type=POSITIVE,
        help=f"rows per forward pass {_by_kind('per_device_train_batch_size')}",
    )
    flag(
        "--gradient_accumulation_steps",
        type=POSITIVE,
        help=f"forward passes per optimizer step {_by_kind('gradient_accumulation_steps')}",
    )
    flag("--activation_checkpointing", action="store_true", help="needs less memory and a third more time")


def _add_adapter(group: Any) -> None:
    flag = group.add_argument
    flag("--load_in_4bit", action=argparse.BooleanOptionalAction, help="QLoRA; when absent: on if there is a GPU")
    flag("--lora_r", type=POSITIVE, default=16, help="rank of the adapter")
    flag("--lora_alpha", type=cli.number(float, 1e-3), default=32, help="the scale is alpha / rank")
    flag("--lora_dropout", type=cli.number(float, 0, 0.9), default=0.0, help="dropout on the adapter's input")


def _add_rare_schedule(group: Any) -> None:
    flag, ratio = group.add_argument, cli.number(float, 0)
    flag(
        "--max_prompt_tokens",
        type=cli.number(int, 8),
        help="longer prompts are cut on the left; when absent: the value that the data was prepared with",
    )
    flag(
        "--max_length",
        type=POSITIVE,
        help=f"tokens per row, into which examples are packed (default: {ROW_TOKENS}, "
        "or the model's context window if that is shorter)",
    )
    flag("--lr_scheduler_type", choices=SCHEDULES, default="cosine", help="learning-rate schedule")
    flag("--warmup_steps", type=ratio, default=0.03, help="warm-up steps; below 1: a share of all steps")
    flag("--weight_decay", type=ratio, default=0.0, help="decoupled weight decay")
    flag("--max_grad_norm", type=ratio, default=1.0, help="gradients are clipped to this norm")
    flag("--optim", choices=OPTIMIZERS, default=OPTIMIZERS[0], help="AdamW; in 8 bits by bitsandbytes on a GPU")
    flag(
        "--label_smoothing_factor",
        type=cli.number(float, 0, 0.9),
        default=0.0,
        help="share of the target probability that is spread over the vocabulary; validation is not smoothed",
    )
    flag(
        "--train_on_prompt",
        type=cli.number(float, 0, 0.9),
        default=0.0,
        metavar="SHARE",
        help="share of the loss that the tokens of prompts have; the rest is of completions",
    )
    flag("--torch_compile", action="store_true", help="compile the model; pays off in long runs with rows of one shape")


def _add_rare_adapter(group: Any) -> None:
    flag = group.add_argument
    flag("--lora_target_modules", nargs="+", default=["all-linear"], help="names of modules, or all-linear")
    flag("--use_rslora", action="store_true", help="the scale is alpha / sqrt(rank): for ranks of 64 and more")
    flag("--use_dora", action="store_true", help="DoRA: better at low ranks, half as fast")
    flag(
        "--init_lora_weights", choices=INITS, default="default", help="initialisation of the adapter; loftq: for 4 bits"
    )
    flag(
        "--loraplus_lr_ratio", type=cli.number(float, 1), help="LoRA+: learning rate of matrix B over that of A; try 16"
    )


def _add_watching(group: Any) -> None:
    flag = group.add_argument
    flag("--logging_steps", type=POSITIVE, default=10, help="steps between two log entries")
    flag("--eval_steps", type=POSITIVE, default=50, help="steps between two validations")
    flag(
        "--save_steps",
        type=POSITIVE,
        help="steps between two checkpoints (default: 200, or --eval_steps with --load_best_model_at_end)",
    )
    flag(
        "--save_minutes", type=cli.number(float, 0), default=5.0, help="also save when the last checkpoint is this old"
    )
    flag("--validation_samples", type=POSITIVE, default=256, help="size of the fixed sample of the validation split")
    flag(
        "--eval_predictions",
        type=cli.number(int, 0),
        metavar="N",
        help="validation prompts that the model completes at each validation, for predictions.html and the metrics of "
        f"the task; 0: none (default: {EVAL_PREDICTIONS}; from scratch {EVAL_CONTINUATIONS}, not scored)",
    )
    flag("--load_best_model_at_end", action="store_true", help="keep the best checkpoint instead of the last state")
    flag("--metric_for_best_model", choices=BEST, default="loss", help="validation metric that decides what is best")
    flag("--early_stopping_patience", type=POSITIVE, metavar="N", help="stop after N validations without improvement")
    flag("--profile", action="store_true", help="measure three steps; profile.txt lists what took longest")
    flag(
        "--report_to", nargs="+", choices=flag_checks.REPORT_TO, default=["none"], help="experiment tracker for the log"
    )


def _add_replay(group: Any) -> None:
    flag = group.add_argument
    flag("--replay", help="prepared data set of general code, mixed in so that the base's abilities are not forgotten")
    flag("--replay_ratio", type=cli.number(float, 0, 0.9), default=0.1, help="share of replay tokens; 0 only measures")
    flag(
        "--osf_effective_rank",
        type=cli.number(float, 0.01, 0.99),
        metavar="SHARE",
        help="with --full_finetuning: freeze this share of each matrix's singular directions, the largest, so that "
        "less is forgotten (OSF); try 0.5",
    )
