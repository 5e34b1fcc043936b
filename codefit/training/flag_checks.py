"""Settings of a training that contradict each other, found before anything is loaded. No torch."""

import argparse
import importlib.util
import os
from collections.abc import Collection
from pathlib import Path

from codefit.errors import UserError

SVD_INITS = ("olora", "pissa", "pissa_niter_16")  # they take a part out of the base's weights
PREDICTED = ("edit_similarity", "exact_match", "next_line")
REPORT_TO = ("none", "tensorboard", "wandb", "trackio")


def refuse(
    args: argparse.Namespace, given: Collection[str], scratch: Collection[str], adapter: Collection[str]
) -> None:
    """Raise UserError for the first contradiction.

    Args:
        args: the flags of train.py.
        given: the flags that stand in the command.
        scratch: the flags that belong to a model from scratch.
        adapter: the flags that belong to an adapter.
    """
    refuse_kind(args, given, scratch, adapter)
    refuse_adapter(args)
    refuse_sharding(args)
    refuse_schedule(args, given)
    refuse_watching(args, given)
    refuse_places(args)


def refuse_kind(
    args: argparse.Namespace, given: Collection[str], scratch: Collection[str], adapter: Collection[str]
) -> None:
    """Raise UserError for flags that belong to another kind of training than the one that is asked for."""
    if args.from_scratch and args.full_finetuning:
        raise UserError("--from_scratch trains every weight already; leave out --full_finetuning.")
    if args.load_in_4bit and (args.from_scratch or args.full_finetuning):
        kind = "--from_scratch" if args.from_scratch else "--full_finetuning"
        raise UserError(f"weights in 4 bits cannot be trained; leave out --load_in_4bit or {kind}.")
    if args.from_scratch or args.full_finetuning:
        kind = "--from_scratch" if args.from_scratch else "--full_finetuning"
        for name in sorted({*given} & {*adapter} - {"load_in_4bit"}):
            raise UserError(f"--{name} belongs to an adapter, and {kind} trains none; leave out one of them.")
    else:
        for name in sorted({*given} & {*scratch}):
            raise UserError(f"--{name} shapes a new model; add --from_scratch, or leave it out.")
    if args.from_scratch and args.replay:
        raise UserError("--replay keeps what a base knows, and a model from scratch knows nothing; leave it out.")
    if args.from_scratch and "eval_predictions" in given and args.eval_predictions:
        raise UserError("whole documents have no prompts to complete; leave out --eval_predictions.")


def refuse_adapter(args: argparse.Namespace) -> None:
    """Raise UserError for a LoRA that cannot be made."""
    init = args.init_lora_weights
    if init in SVD_INITS and args.load_in_4bit:
        raise UserError(
            f"--init_lora_weights {init} takes a part out of the base, which 4 bits cannot hold; "
            "use loftq, or leave out --load_in_4bit."
        )
    if init == "loftq" and args.load_in_4bit is False:
        raise UserError("--init_lora_weights loftq makes up for 4 bits; leave out --no-load_in_4bit.")
    if init in (*SVD_INITS, "loftq") and args.use_dora:
        raise UserError(f"--use_dora cannot begin with {init}; leave out one of them.")
    if "all-linear" in args.lora_target_modules and len(args.lora_target_modules) > 1:
        raise UserError("--lora_target_modules all-linear means all of them; leave out the other names.")


def refuse_sharding(args: argparse.Namespace) -> None:
    """Raise UserError for what `accelerate launch --use_fsdp` cannot shard."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() not in ("1", "true", "yes"):
        return
    if args.from_scratch:
        raise UserError(
            "a model from scratch is trained by Muon, which needs whole matrices, and FSDP shards them; "
            "start without --use_fsdp."
        )
    if args.init_lora_weights in SVD_INITS:
        raise UserError(
            f"--init_lora_weights {args.init_lora_weights} cannot be stored from weights that FSDP shards; "
            "leave it out, or start without --use_fsdp."
        )


def refuse_new_tokens(args: argparse.Namespace, tokens: Collection[str]) -> None:
    """Raise UserError where new tokens would be trained beside an adapter that cannot store them."""
    if tokens and args.init_lora_weights in SVD_INITS:
        raise UserError(
            f"the base has no fill-in-the-middle sentinels, and --init_lora_weights {args.init_lora_weights} cannot be "
            "stored beside new tokens; leave it out, or take a base that has sentinels."
        )


def refuse_schedule(args: argparse.Namespace, given: Collection[str]) -> None:
    """Raise UserError for lengths that do not fit together."""
    if args.max_steps and "num_train_epochs" in given:
        raise UserError("--max_steps and --num_train_epochs both say how long; leave out one of them.")
    if args.max_steps and args.warmup_steps >= args.max_steps and args.warmup_steps >= 1:
        raise UserError(
            f"the warm-up of {args.warmup_steps:g} steps ends behind --max_steps {args.max_steps}; lower it."
        )
    lengths_known = args.max_length and args.max_prompt_tokens and not args.from_scratch
    if lengths_known and args.max_prompt_tokens >= args.max_length:
        raise UserError(
            f"a prompt of --max_prompt_tokens {args.max_prompt_tokens} leaves no room for a completion in "
            f"--max_length {args.max_length}; lower the first or raise the second."
        )


def refuse_watching(args: argparse.Namespace, given: Collection[str]) -> None:
    """Raise UserError for what cannot be watched while training."""
    metric = args.metric_for_best_model
    if metric in PREDICTED and (args.from_scratch or not args.eval_predictions):
        raise UserError(f"--metric_for_best_model {metric} needs predictions; set --eval_predictions, or choose loss.")
    if metric == "replay_loss" and not args.replay:
        raise UserError("--metric_for_best_model replay_loss needs --replay; name a data set, or choose loss.")
    if "metric_for_best_model" in given and not (args.load_best_model_at_end or args.early_stopping_patience):
        raise UserError(
            f"--metric_for_best_model {metric} decides nothing by itself; "
            "add --load_best_model_at_end or --early_stopping_patience."
        )
    if args.load_best_model_at_end and args.save_steps and args.save_steps % args.eval_steps:
        raise UserError(
            f"--load_best_model_at_end needs a checkpoint where it evaluates; make --save_steps {args.save_steps} "
            f"a multiple of --eval_steps {args.eval_steps}, or leave it out."
        )
    if "replay_ratio" in given and not args.replay:
        raise UserError("--replay_ratio needs a data set to mix in; name it with --replay.")
    if "none" in args.report_to and len(args.report_to) > 1:
        raise UserError("--report_to none means nowhere; leave out the other names.")
    for name in args.report_to:
        if name != "none" and importlib.util.find_spec(name) is None:
            raise UserError(f"--report_to {name} needs a package that is not installed; run: pip install {name}")


def refuse_places(args: argparse.Namespace) -> None:
    """Raise UserError for places that would be read and written, or read twice."""
    output = args.output_dir.resolve()
    if Path(args.dataset).resolve() == output:
        raise UserError("--output_dir is the data set itself; name another folder.")
    if args.replay and Path(args.replay).resolve() == output:
        raise UserError("--output_dir is the --replay data set itself; name another folder.")
    if args.replay and Path(args.replay).resolve() == Path(args.dataset).resolve():
        raise UserError("--replay is the data set of the training itself; name another, of general code.")
    if args.from_scratch:
        return
    base = Path(args.model_name_or_path)
    if base.is_dir() and base.resolve() == output:
        raise UserError("--output_dir is the base model itself; name another folder.")
    if base.is_dir() and args.revision:
        raise UserError(f"the folder {base} has no revisions; leave out --revision.")
    if (base / "adapter_config.json").is_file():
        raise UserError(f"{base} is an adapter, not a base model; merge it first with merge_lora.py, or name its base.")
