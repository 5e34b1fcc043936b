"""Checks for contradictory training flags, made before anything is loaded. Does not import torch."""

import importlib.util
import os
from collections.abc import Collection
from pathlib import Path

from codefit import distributed, outputs
from codefit.errors import UserError
from codefit.model_files import ADAPTER_CONFIG
from codefit.training.settings import SVD_INITS, LoraSettings, TrainSettings

PREDICTED = ("edit_similarity", "exact_match", "next_line", "naming_f1", "chrf", "rouge_l")
REPORT_TO = ("none", "tensorboard", "wandb", "trackio")


def refuse(settings: TrainSettings, given: Collection[str], scratch: Collection[str], adapter: Collection[str]) -> None:
    """Raise UserError for the first contradiction.

    Args:
        settings: the settings of the command.
        given: names of the flags in the command.
        scratch: names of the flags of a model from scratch.
        adapter: names of the flags of an adapter.
    """
    if settings.output.hub_strategy == "checkpoint" and not settings.output.hf_repository:
        raise UserError("--hub_strategy checkpoint pushes to a repository; name it with --hf_repository.")
    if settings.output.overfit and (settings.search.trials or distributed.processes() > 1):
        raise UserError("--overfit is a check of one run in one process; leave it out, or --trials and the launcher.")
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
    """Raise UserError for flags that belong to another kind of training."""
    if settings.from_scratch and settings.full_finetuning:
        raise UserError("--from_scratch already trains all weights; leave out --full_finetuning.")
    if settings.left_open.load_in_4bit and settings.whole:
        kind = "--from_scratch" if settings.from_scratch else "--full_finetuning"
        raise UserError(f"weights in 4 bits cannot be trained; leave out --load_in_4bit or {kind}.")
    if settings.whole:
        kind = "--from_scratch" if settings.from_scratch else "--full_finetuning"
        for name in sorted({*given} & {*adapter} - {"load_in_4bit"}):
            raise UserError(f"--{name} is for adapters, and {kind} does not train one; leave out one of them.")
    else:
        for name in sorted({*given} & {*scratch}):
            raise UserError(f"--{name} is for a model from scratch; add --from_scratch, or leave it out.")
    if settings.osf_effective_rank is not None and not settings.full_finetuning:
        raise UserError("--osf_effective_rank limits full fine-tuning; add --full_finetuning, or leave it out.")
    if settings.from_scratch and settings.data.train_on_prompt:
        raise UserError("whole documents have no prompts, and all of their tokens are trained; drop --train_on_prompt.")
    if settings.from_scratch and settings.data.replay:
        raise UserError("--replay preserves what a base has learned, and --from_scratch has no base; leave it out.")


def refuse_adapter(lora: LoraSettings, load_in_4bit: bool | None) -> None:
    """Raise UserError for contradictory LoRA flags."""
    init = lora.init_lora_weights
    if lora.changes_base and load_in_4bit:
        raise UserError(
            f"--init_lora_weights {init} changes the base's weights, which is not possible in 4 bits; "
            "use loftq, or leave out --load_in_4bit."
        )
    if init == "loftq" and load_in_4bit is False:
        raise UserError("--init_lora_weights loftq needs a base in 4 bits; leave out --no-load_in_4bit.")
    if init in (*SVD_INITS, "loftq") and lora.use_dora:
        raise UserError(f"--use_dora does not work with --init_lora_weights {init}; leave out one of them.")
    if "all-linear" in lora.lora_target_modules and len(lora.lora_target_modules) > 1:
        raise UserError("--lora_target_modules all-linear already names all of them; leave out the other names.")


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
            "a model from scratch is trained with Muon, which needs whole matrices, but FSDP shards them; "
            "start without --use_fsdp."
        )
    if settings.osf_effective_rank is not None:
        raise UserError(
            "--osf_effective_rank needs whole matrices, but FSDP shards them; leave it out, or start without "
            "--use_fsdp."
        )
    if settings.lora.changes_base:
        raise UserError(
            f"--init_lora_weights {settings.lora.init_lora_weights} cannot be saved from weights that FSDP shards; "
            "leave it out, or start without --use_fsdp."
        )


def refuse_new_tokens(settings: TrainSettings, tokens: Collection[str]) -> None:
    """Raise UserError where new tokens would be added that cannot be trained, or not be stored."""
    lora = settings.lora
    if tokens and settings.osf_effective_rank is not None:
        raise UserError(
            "the base has no fill-in-the-middle sentinels, and --osf_effective_rank does not train the embedding "
            "of new tokens; leave it out, or use a base that has sentinels."
        )
    if tokens and lora.changes_base:
        raise UserError(
            f"the base has no fill-in-the-middle sentinels, and --init_lora_weights {lora.init_lora_weights} cannot be "
            "saved together with new tokens; leave it out, or use a base that has sentinels."
        )


def refuse_optimizer(settings: TrainSettings, on_gpu: bool) -> None:
    """Raise UserError for an optimizer that this machine or kind of training does not have."""
    optim = settings.schedule.optim
    if "8bit" not in optim:
        return
    if settings.from_scratch:
        raise UserError(f"--optim {optim} is AdamW, and --from_scratch trains with Muon; leave out one of them.")
    if settings.lora.loraplus_lr_ratio is not None:
        raise UserError(f"--loraplus_lr_ratio does not work with --optim {optim}; leave out one of them.")
    if not on_gpu:
        raise UserError(f"--optim {optim} of bitsandbytes needs a GPU, and this machine has none; leave it out.")


def refuse_schedule(settings: TrainSettings, given: Collection[str]) -> None:
    """Raise UserError for contradictory lengths."""
    schedule, asked = settings.schedule, settings.left_open
    if schedule.max_steps and "num_train_epochs" in given:
        raise UserError("--max_steps and --num_train_epochs both set the length of the run; leave out one of them.")
    if schedule.max_steps and schedule.warmup_steps >= schedule.max_steps and schedule.warmup_steps >= 1:
        raise UserError(
            f"the warm-up of {schedule.warmup_steps:g} steps is not shorter than --max_steps {schedule.max_steps}; "
            "lower --warmup_steps."
        )
    prompt, row = asked.max_prompt_tokens, asked.max_length
    if prompt and row and prompt >= row and not settings.from_scratch:
        raise UserError(
            f"a prompt of --max_prompt_tokens {prompt} leaves no room for a completion in "
            f"--max_length {row}; lower the first or raise the second."
        )


def refuse_watching(settings: TrainSettings, given: Collection[str]) -> None:
    """Raise UserError for contradictory flags of validation and checkpoints."""
    watch, save_steps, replay = settings.watch, settings.left_open.save_steps, settings.data.replay
    metric = watch.metric_for_best_model
    if metric in PREDICTED and settings.from_scratch:
        raise UserError(f"--metric_for_best_model {metric} scores pairs, and whole documents are none; choose loss.")
    if metric in PREDICTED and not watch.eval_predictions:
        raise UserError(f"--metric_for_best_model {metric} needs predictions; set --eval_predictions, or choose loss.")
    if metric == "replay_loss" and not replay:
        raise UserError("--metric_for_best_model replay_loss needs --replay; name a data set, or choose loss.")
    if "metric_for_best_model" in given and not (watch.load_best_model_at_end or watch.early_stopping_patience):
        raise UserError(
            f"--metric_for_best_model {metric} has no effect by itself; "
            "add --load_best_model_at_end or --early_stopping_patience."
        )
    if watch.load_best_model_at_end and save_steps and save_steps % watch.eval_steps:
        raise UserError(
            f"--load_best_model_at_end needs a validation at every checkpoint; make --save_steps {save_steps} "
            f"a multiple of --eval_steps {watch.eval_steps}, or leave it out."
        )
    if "replay_ratio" in given and not replay:
        raise UserError("--replay_ratio needs a data set to mix in; name it with --replay.")


def refuse_metric(metric: str, tasks: Collection[str]) -> None:
    """Raise UserError for a metric of predictions that the tasks of the data set do not have."""
    from codefit.scoring import at_validation

    known = [found.name for found in at_validation.metrics(sorted(tasks))]
    if metric in PREDICTED and metric not in known:
        raise UserError(
            f"--metric_for_best_model {metric} does not score the task {' and '.join(sorted(tasks))}; "
            f"choose {', '.join([*known, 'loss'])}."
        )


def refuse_reports(report_to: Collection[str]) -> None:
    """Raise UserError for a tracker that cannot be used."""
    if "none" in report_to and len(report_to) > 1:
        raise UserError("--report_to none turns reports off; leave it or the other names out.")
    for name in report_to:
        if name != "none" and importlib.util.find_spec(name) is None:
            raise UserError(f"--report_to {name} needs a package that is not installed; run: pip install {name}")


def refuse_places(settings: TrainSettings) -> None:
    """Raise UserError for paths that would be both read and written, or read twice."""
    model = None if settings.from_scratch else settings.model_name_or_path
    outputs.refuse_own_inputs(settings.output.output_dir, [settings.data.dataset, settings.data.replay, model])
    if settings.data.replay and Path(settings.data.replay).resolve() == Path(settings.data.dataset).resolve():
        raise UserError("--replay is the training data set itself; name another one, of general code.")
    if settings.from_scratch:
        return
    base = Path(settings.model_name_or_path)
    if base.is_dir() and settings.revision:
        raise UserError(f"the folder {base} has no revisions; leave out --revision.")
    if (base / ADAPTER_CONFIG).is_file():
        raise UserError(f"{base} is an adapter, not a base model; merge it first with merge_lora.py, or name its base.")
