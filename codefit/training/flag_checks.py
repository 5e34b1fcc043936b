"""Settings of a training that contradict each other, found before anything is loaded. No torch."""

import importlib.util
import os
from collections.abc import Collection
from pathlib import Path

from codefit import outputs
from codefit.errors import UserError
from codefit.model_files import ADAPTER_CONFIG
from codefit.training.settings import SVD_INITS, LoraSettings, TrainSettings

PREDICTED = ("edit_similarity", "exact_match", "next_line")
REPORT_TO = ("none", "tensorboard", "wandb", "trackio")


def refuse(settings: TrainSettings, given: Collection[str], scratch: Collection[str], adapter: Collection[str]) -> None:
    """Raise UserError for the first contradiction.

    Args:
        settings: of the command.
        given: the flags that stand in the command.
        scratch: the flags that belong to a model from scratch.
        adapter: the flags that belong to an adapter.
    """
    refuse_kind(settings, given, scratch, adapter)
    refuse_adapter(settings.lora, settings.left_open.load_in_4bit)
    refuse_init(settings)
    refuse_sharding(settings)
    refuse_schedule(settings, given)
    refuse_watching(settings, given)
    refuse_reports(settings.watch.report_to)
    refuse_places(settings)


def refuse_kind(
    settings: TrainSettings, given: Collection[str], scratch: Collection[str], adapter: Collection[str]
) -> None:
    """Raise UserError for flags that belong to another kind of training than the one that is asked for."""
    if settings.from_scratch and settings.full_finetuning:
        raise UserError("--from_scratch trains every weight already; leave out --full_finetuning.")
    if settings.left_open.load_in_4bit and settings.whole:
        kind = "--from_scratch" if settings.from_scratch else "--full_finetuning"
        raise UserError(f"weights in 4 bits cannot be trained; leave out --load_in_4bit or {kind}.")
    if settings.whole:
        kind = "--from_scratch" if settings.from_scratch else "--full_finetuning"
        for name in sorted({*given} & {*adapter} - {"load_in_4bit"}):
            raise UserError(f"--{name} belongs to an adapter, and {kind} trains none; leave out one of them.")
    else:
        for name in sorted({*given} & {*scratch}):
            raise UserError(f"--{name} shapes a new model; add --from_scratch, or leave it out.")
    if settings.from_scratch and settings.data.replay:
        raise UserError("--replay keeps what a base knows, and a model from scratch knows nothing; leave it out.")
    if settings.from_scratch and "eval_predictions" in given and settings.watch.eval_predictions:
        raise UserError("whole documents have no prompts to complete; leave out --eval_predictions.")


def refuse_adapter(lora: LoraSettings, load_in_4bit: bool | None) -> None:
    """Raise UserError for a LoRA that cannot be made."""
    init = lora.init_lora_weights
    if lora.changes_base and load_in_4bit:
        raise UserError(
            f"--init_lora_weights {init} takes a part out of the base, which 4 bits cannot hold; "
            "use loftq, or leave out --load_in_4bit."
        )
    if init == "loftq" and load_in_4bit is False:
        raise UserError("--init_lora_weights loftq makes up for 4 bits; leave out --no-load_in_4bit.")
    if init in (*SVD_INITS, "loftq") and lora.use_dora:
        raise UserError(f"--use_dora cannot begin with {init}; leave out one of them.")
    if "all-linear" in lora.lora_target_modules and len(lora.lora_target_modules) > 1:
        raise UserError("--lora_target_modules all-linear means all of them; leave out the other names.")


def refuse_init(settings: TrainSettings) -> None:
    """Raise UserError for an initialisation that looks at data which were not named."""
    if settings.lora.init_lora_weights == "corda" and not settings.data.replay:
        raise UserError(
            "--init_lora_weights corda keeps what the base knows of other code; name that code with --replay "
            "(with --replay_ratio 0 it is not trained)."
        )


def refuse_sharding(settings: TrainSettings) -> None:
    """Raise UserError for what `accelerate launch --use_fsdp` cannot shard."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() not in ("1", "true", "yes"):
        return
    if settings.from_scratch:
        raise UserError(
            "a model from scratch is trained by Muon, which needs whole matrices, and FSDP shards them; "
            "start without --use_fsdp."
        )
    if settings.lora.changes_base:
        raise UserError(
            f"--init_lora_weights {settings.lora.init_lora_weights} cannot be stored from weights that FSDP shards; "
            "leave it out, or start without --use_fsdp."
        )


def refuse_new_tokens(lora: LoraSettings, tokens: Collection[str]) -> None:
    """Raise UserError where new tokens would be trained beside an adapter that cannot store them."""
    if tokens and lora.changes_base:
        raise UserError(
            f"the base has no fill-in-the-middle sentinels, and --init_lora_weights {lora.init_lora_weights} cannot be "
            "stored beside new tokens; leave it out, or take a base that has sentinels."
        )


def refuse_schedule(settings: TrainSettings, given: Collection[str]) -> None:
    """Raise UserError for lengths that do not fit together."""
    schedule, asked = settings.schedule, settings.left_open
    if schedule.max_steps and "num_train_epochs" in given:
        raise UserError("--max_steps and --num_train_epochs both say how long; leave out one of them.")
    if schedule.max_steps and schedule.warmup_steps >= schedule.max_steps and schedule.warmup_steps >= 1:
        raise UserError(
            f"the warm-up of {schedule.warmup_steps:g} steps ends behind --max_steps {schedule.max_steps}; lower it."
        )
    prompt, row = asked.max_prompt_tokens, asked.max_length
    if prompt and row and prompt >= row and not settings.from_scratch:
        raise UserError(
            f"a prompt of --max_prompt_tokens {prompt} leaves no room for a completion in "
            f"--max_length {row}; lower the first or raise the second."
        )


def refuse_watching(settings: TrainSettings, given: Collection[str]) -> None:
    """Raise UserError for what cannot be watched while training."""
    watch, save_steps, replay = settings.watch, settings.left_open.save_steps, settings.data.replay
    metric = watch.metric_for_best_model
    if metric in PREDICTED and (settings.from_scratch or not watch.eval_predictions):
        raise UserError(f"--metric_for_best_model {metric} needs predictions; set --eval_predictions, or choose loss.")
    if metric == "replay_loss" and not replay:
        raise UserError("--metric_for_best_model replay_loss needs --replay; name a data set, or choose loss.")
    if "metric_for_best_model" in given and not (watch.load_best_model_at_end or watch.early_stopping_patience):
        raise UserError(
            f"--metric_for_best_model {metric} decides nothing by itself; "
            "add --load_best_model_at_end or --early_stopping_patience."
        )
    if watch.load_best_model_at_end and save_steps and save_steps % watch.eval_steps:
        raise UserError(
            f"--load_best_model_at_end needs a checkpoint where it evaluates; make --save_steps {save_steps} "
            f"a multiple of --eval_steps {watch.eval_steps}, or leave it out."
        )
    if "replay_ratio" in given and not replay:
        raise UserError("--replay_ratio needs a data set to mix in; name it with --replay.")


def refuse_reports(report_to: Collection[str]) -> None:
    """Raise UserError for a place that the log cannot go to."""
    if "none" in report_to and len(report_to) > 1:
        raise UserError("--report_to none means nowhere; leave out the other names.")
    for name in report_to:
        if name != "none" and importlib.util.find_spec(name) is None:
            raise UserError(f"--report_to {name} needs a package that is not installed; run: pip install {name}")


def refuse_places(settings: TrainSettings) -> None:
    """Raise UserError for places that would be read and written, or read twice."""
    model = None if settings.from_scratch else settings.model_name_or_path
    outputs.refuse_own_inputs(settings.output.output_dir, [settings.data.dataset, settings.data.replay, model])
    if settings.data.replay and Path(settings.data.replay).resolve() == Path(settings.data.dataset).resolve():
        raise UserError("--replay is the data set of the training itself; name another, of general code.")
    if settings.from_scratch:
        return
    base = Path(settings.model_name_or_path)
    if base.is_dir() and settings.revision:
        raise UserError(f"the folder {base} has no revisions; leave out --revision.")
    if (base / ADAPTER_CONFIG).is_file():
        raise UserError(f"{base} is an adapter, not a base model; merge it first with merge_lora.py, or name its base.")
