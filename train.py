"""Fit a model to prepared pairs: a LoRA or QLoRA adapter, all weights, or a small model from scratch.

The smallest command fits microsoft/phi-1_5 to data/kotlin_prepared_dataset, in 4 bits when there is a GPU:

    python train.py

The same with the bundled base model; a dry run; a preview of three examples:

    python train.py --dataset data/kotlin_prepared_dataset --model_name_or_path data/base \\
        --output_dir outputs/kotlin/adapter --num_train_epochs 2 --lora_r 32
    python train.py --model_name_or_path data/base --dry_run
    python train.py --model_name_or_path data/base --preview 3

A run that was stopped continues from its last checkpoint when the same command is run again.
"""

import contextlib
import dataclasses
import signal
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, distributed, gguf_base, outputs, records
from codefit.errors import Interrupted, UserError
from codefit.manifest import PUSHING, Manifest, command, note_repository, read_manifest
from codefit.records import Pair
from codefit.training import flag_checks, run_folder, scratch_flags, train_flags
from codefit.training.settings import (
    OF_ADAPTERS,
    OutputSettings,
    Settled,
    TrainSettings,
    follow_width,
    of_flags,
    settle,
)


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    train_flags.add(parser)
    return parser


# ---------------------------------------------------------------------------------------------- the command


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """A command of train.py after every check that needs no model, with all open settings decided.

    Attributes:
        flags: values of the flags by name, including those that were decided.
        settings: the flags as typed settings.
        settled: the settings that the command left open.
        sources: where each of those values came from.
        given: names of the flags in the command.
        hidden: names of the flags that do not apply to this kind of training.
        dataset: folder of the prepared data.
        replay: folder of the prepared replay data, or None.
        is_done: whether the same command made the output from the same inputs.
    """

    flags: Mapping[str, Any]
    settings: TrainSettings
    settled: Settled
    sources: Mapping[str, str]
    given: Collection[str]
    hidden: Collection[str]
    dataset: Path
    replay: Path | None
    is_done: bool

    @property
    def datasets(self) -> list[Path]:
        """The folders of data, the training data first."""
        return [self.dataset, *([self.replay] if self.replay else [])]


def checked(flags: Mapping[str, Any], settings: TrainSettings, parser: cli.Parser, given: set[str]) -> Command:
    """Check the command, and decide open settings from the data set, the base model and the machine."""
    output = settings.output
    flag_checks.refuse(settings, given, parser.group("from scratch"), parser.group("adapter"))
    scratch_flags.refuse(settings)
    dataset = records.dataset_folder(settings.data.dataset)
    replay = records.dataset_folder(settings.data.replay) if settings.data.replay else None
    prepared = read_manifest(dataset).get("arguments", {})

    from codefit.modeling import hardware, loading

    config = None if settings.from_scratch else loading.config_named(*base_of(settings))
    context = loading.context_in(config) if config else sys.maxsize
    sources = {"max_length": "model", "load_in_4bit": "machine"}
    if config and "learning_rate" not in given and not settings.whole:
        settings = follow_width(settings, loading.hidden_size_in(config))
        sources["learning_rate"] = "model"
    on_gpu = hardware.device().type == "cuda"
    flag_checks.refuse_optimizer(settings, on_gpu)
    settled = settle(settings, prepared, context, on_gpu)
    if "max_prompt_tokens" in prepared:
        sources["max_prompt_tokens"] = "data set"
    by_kind = {name: getattr(settings.schedule, name) for name in OF_ADAPTERS}
    by_kind["eval_predictions"] = settings.watch.eval_predictions
    decided = {**by_kind, **dataclasses.asdict(settled)}
    hidden = parser.group("adapter" if settings.whole else "from scratch") | {"dry_run"}
    every_flag = {**flags, **decided}
    outputs.recover(output.output_dir)
    again = not (output.overwrite or output.keeps_nothing) and Manifest(every_flag).repeats(output.output_dir, PUSHING)
    refuse_output(settings, again)
    return Command(every_flag, settings, settled, sources, given, hidden, dataset, replay, again)


def refuse_output(settings: TrainSettings, is_done: bool) -> None:
    """Raise UserError before anything is done if the output could not be written or pushed in the end."""
    output = settings.output
    if not is_done:
        outputs.refuse_existing(output.output_dir, output.overwrite or output.keeps_nothing)
    if output.hf_repository and not (output.preview or output.overfit):
        from codefit.publishing import push

        private = output.private or None
        push.check_repository(output.hf_repository, "model", private=private, create=not output.dry_run)


def base_of(settings: TrainSettings) -> tuple[str, str | None]:
    """Return name and revision of the base model."""
    return settings.model_name_or_path, settings.revision


# ---------------------------------------------------------------------------------------------- model and data


def prepare_base(asked: Command, work: Path) -> tuple[Any, Any]:
    """Return the base's tokenizer, and its model with the weights to be trained."""
    import torch

    from codefit import encoding
    from codefit.modeling import adapters, loading, sentinels
    from codefit.training import calibration

    settings, looking = asked.settings, asked.settings.output.only_looks
    name, revision = base_of(settings)
    torch.manual_seed(settings.seed)
    tokenizer = loading.load_tokenizer(name, revision)
    new = sentinels.missing(tokenizer, asked.datasets)
    flag_checks.refuse_new_tokens(settings, new)
    model = loading.load_model(
        name,
        revision=revision,
        load_in_4bit=asked.settled.load_in_4bit,
        dtype=torch.float32 if settings.full_finetuning else None,
        place=torch.device("meta") if looking else None,
    )
    if new:
        console.show(f"{name} has no fill-in-the-middle sentinels; they are added as new tokens: {' '.join(new)}")
    new_tokens = sentinels.add(tokenizer, model, new) if new else []
    loading.fit_tokens(tokenizer, len(model.get_input_embeddings().weight), name)
    if settings.full_finetuning:
        return tokenizer, adapters.all_weights(model, settings.osf_effective_rank)
    lora = settings.lora
    looked_at = None if looking else {"eva": asked.dataset, "corda": asked.replay}.get(lora.init_lora_weights)
    encoder = encoding.Encoder(tokenizer, asked.settled.max_prompt_tokens, ends=loading.ends_in(model))
    model = adapters.add_lora(
        model,
        r=lora.lora_r,
        alpha=lora.lora_alpha,
        dropout=lora.lora_dropout,
        targets="all-linear" if lora.lora_target_modules == ("all-linear",) else list(lora.lora_target_modules),
        use_rslora=lora.use_rslora,
        use_dora=lora.use_dora,
        init="default" if looking else lora.init_lora_weights,
        new_tokens=new_tokens,
        rows=calibration.rows(looked_at, encoder, settings.seed) if looked_at else (),
    )
    if lora.init_lora_weights == "loftq" and not looking:
        adapters.initialise_with_loftq(model, name, revision)
    if lora.changes_base and not looking and distributed.is_first_process():
        adapters.save_initial_matrices(model, work / run_folder.BEGINNING)
    return tokenizer, model


def prepare_new_model(asked: Command, work: Path) -> tuple[Any, Any]:
    """Return a new tokenizer and a new model."""
    import torch

    from codefit.modeling import hardware, loading
    from codefit.training import scratch

    shape, context = asked.settings.new_model, asked.settled.max_length
    torch.manual_seed(asked.settings.seed)
    # other processes train the same tokenizer themselves, and never read one that is being written
    writes = distributed.is_first_process() and not asked.settings.output.only_looks
    kept = work / run_folder.NEW_TOKENIZER
    if not (writes and kept.is_dir()):  # of the run that is being continued
        texts = (pair.completion for pair in records.read_jsonl(asked.dataset / "train.jsonl", Pair))
        reading = console.progress(texts, "train tokenizer", unit="document")
        tokenizer = scratch.train_tokenizer(reading, shape.vocab_size, context, shape.tokenizer_type)
        if writes:
            run_folder.keep_tokenizer(tokenizer, work)
    if writes:  # loaded from disk, so that a resumed run has the same one
        tokenizer = loading.load_tokenizer(str(kept))
    model = scratch.new_model(
        tokenizer,
        hidden_size=shape.hidden_size,
        layers=shape.num_hidden_layers,
        heads=shape.num_attention_heads,
        intermediate_size=shape.intermediate_size,
        context=context,
        dropout=shape.dropout,
    )
    return tokenizer, model.to(hardware.device())


# ---------------------------------------------------------------------------------------------- training


def save(settings: TrainSettings, work: Path, trainer: Any, tokenizer: Any) -> None:
    """Write the result into the folder: model or adapter, tokenizer, trainer state and loss curve."""
    import torch

    from codefit.modeling import adapters
    from codefit.training import plots

    weights = trainer.weights()
    if not distributed.is_first_process():
        return
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if settings.whole:  # a fine-tuned model stays in float32, since bfloat16 would round small updates away
        dtype = torch.bfloat16 if settings.from_scratch else torch.float32
        adapters.save_whole(model, tokenizer, work, dtype, weights)
    else:
        beginning = work / run_folder.BEGINNING if settings.lora.changes_base else None
        adapters.save(model, work, *base_of(settings), beginning, weights)
        tokenizer.save_pretrained(work)
    trainer.state.save_to_json(str(work / run_folder.STATE))
    plots.loss_curve(trainer.state.log_history, work / run_folder.LOSS_CURVE)


def add_inputs(asked: Command, manifest: Manifest) -> None:
    """Add the data and the base model to the manifest."""
    for folder in asked.datasets:
        for split in ("train", "validation"):
            manifest.add_input(folder / f"{split}.jsonl")
    if not asked.settings.from_scratch:
        manifest.add_model(asked.settings.model_name_or_path)


def hand_on(asked: Command, manifest: Manifest) -> None:
    """Add to the manifest what merge_lora.py and benchmarking.py read from it."""
    from codefit.modeling import hardware

    settings = asked.settings
    add_inputs(asked, manifest)
    manifest.update(
        base_model=None if settings.from_scratch else settings.model_name_or_path,
        base_revision=settings.revision,
        base_gguf=None if settings.from_scratch else gguf_base.origin(settings.model_name_or_path),
        load_in_4bit=asked.settled.load_in_4bit,
        dtype=str(hardware.compute_dtype()),
        dataset=settings.data.dataset,
        max_prompt_tokens=asked.settled.max_prompt_tokens,
        replay=settings.data.replay,
    )


def main(argv: Sequence[str] | None = None, watching: Sequence[Any] = ()) -> None:
    """Encode, train, save and push; or run a search, in which every trial is such a run.

    Args:
        argv: the words of the command.
        watching: callbacks to add to the trainer.
    """
    parser = build_parser()
    flags = vars(parser.parse_args(argv))
    settings, given = of_flags(flags), parser.given(argv)
    output = settings.output
    if settings.search.trials or settings.search.search:
        return run_search(flags, settings, parser, given)
    asked = checked(flags, settings, parser, given)
    if output.overfit and not output.only_looks:
        return check_overfit(asked)
    if not asked.is_done:
        with claimed(asked):
            fit(asked, watching)
    if output.hf_repository and not output.only_looks and distributed.is_first_process():
        from codefit.publishing import push

        note_repository(output.output_dir, output.hf_repository)
        push_result = push.push_merged if settings.whole else push.push_adapter
        console.show(f"pushed:  {push_result(output.output_dir, output.hf_repository, private=output.private or None)}")
    return None


def check_overfit(asked: Command) -> None:
    """Check in a temporary folder that a few examples can be learned by heart."""
    from codefit import encoding, temporary
    from codefit.modeling import loading
    from codefit.training import overfit, samples

    settings, settled = overfit.settings_of(asked.settings), asked.settled
    with temporary.temporary_folder() as work:
        tokenizer, model = prepare_new_model(asked, work) if settings.from_scratch else prepare_base(asked, work)
        encoder = encoding.Encoder(tokenizer, settled.max_prompt_tokens, ends=loading.ends_in(model))
        found = samples.read(settings, settled.max_length, asked.dataset, None, encoder)
        overfit.check(settings, model, encoder, found.train, settled.max_length, work)


@contextlib.contextmanager
def claimed(asked: Command) -> Iterator[None]:
    """Hold the lock of the output until the result is in place, and claim the folder that it is built in."""
    output = asked.settings.output
    if output.only_looks or not distributed.is_first_process():
        yield
        return
    with outputs.alone(output.output_dir):
        outputs.refuse_existing(output.output_dir, output.overwrite)  # again, since another run may have finished
        work = outputs.partial(output.output_dir)
        if output.hub_strategy == "checkpoint" and not (output.overwrite or run_folder.is_begun(work)):
            from codefit.publishing import checkpoints

            if found := checkpoints.fetch_checkpoint(work, str(output.hf_repository)):
                console.show(f"{found} comes from {output.hf_repository}")
        run_folder.claim(asked.flags, output.overwrite, asked.datasets, work)
        try:
            yield
        except BaseException:
            run_folder.remove_if_nothing_is_saved(work)
            raise


def fit(asked: Command, watching: Sequence[Any]) -> None:
    """Encode, train and save; or show a preview or a dry run."""
    manifest = Manifest(asked.flags)

    from codefit import encoding
    from codefit.modeling import loading
    from codefit.training import curriculum, estimate, packing, sample_isolation, samples, trainer_settings
    from codefit.training.trainer import wait_for_others

    settings, settled, output = asked.settings, asked.settled, asked.settings.output
    schedule, work = settings.schedule, outputs.partial(output.output_dir)
    if not output.only_looks:
        wait_for_others()
    tokenizer, model = prepare_new_model(asked, work) if settings.from_scratch else prepare_base(asked, work)
    encoder = encoding.Encoder(tokenizer, settled.max_prompt_tokens, ends=loading.ends_in(model))
    found = samples.read(settings, settled.max_length, asked.dataset, asked.replay, encoder)
    flag_checks.refuse_metric(settings.watch.metric_for_best_model, {pair.task for pair in found.asked})
    if output.preview:
        for sample in found.train[: output.preview]:
            sys.stdout.write(encoding.preview(sample, encoder, console.in_colour(sys.stdout)) + "\n")
        return
    order = curriculum.plan(settings.curriculum, schedule, settings.seed)
    packed = packing.PackedRows(
        found.train, settled.max_length, encoder.pad_id, order, isolates=sample_isolation.may_pack(model)
    )
    estimate.describe(schedule, model, packed, found.ledger, output.output_dir)
    estimate.refuse_full_disk(output.output_dir, settings.lora, model)
    if output.dry_run:
        trainer_settings.training_arguments(settings, settled.save_steps, work)
        table = estimate.sources(asked.flags, asked.given, asked.hidden, asked.sources)
        estimate.foresee(settings, settled, model, packed, table)
        return
    checkpoint = run_folder.last(work)
    trainer = build_trainer(asked, work, model, encoder, packed, found, resumed=checkpoint is not None)
    for callback in [*watching, *pushing(output, work)]:
        trainer.add_callback(callback)
    result, final = run(trainer, checkpoint)
    save(settings, work, trainer, tokenizer)
    if not distributed.is_first_process():
        return
    hand_on(asked, manifest)
    measured = {"train_loss": result.training_loss, "train_seconds": result.metrics["train_runtime"]}
    peak = estimate.peak_memory()
    measured |= {"peak_memory_bytes": peak, "steps": result.global_step, "validation": final}
    measured["seconds_per_step"] = trainer.narrator.seconds_per_step
    measured["trained_tokens"] = packed.tokens_in(trainer.state.epoch)
    manifest.update(ledger=found.ledger, **encoding.counts(found.train), **measured)
    manifest.write(work)
    if not settings.whole:
        from codefit.publishing import cards

        text = cards.adapter_card(work, output.hf_repository or output.output_dir.name)
        outputs.write_whole(work / "README.md", text)
    run_folder.put_away(work)
    outputs.commit(work, output.output_dir)
    from codefit.training import outcome

    outcome.report(settings, trainer, result, final, console.size(peak))


def pushing(output: OutputSettings, work: Path) -> list[Any]:
    """Return the callback that pushes checkpoints, if the command asks for it."""
    if output.hub_strategy != "checkpoint":
        return []
    from codefit.publishing import checkpoints
    from codefit.training import callbacks

    repository, private = str(output.hf_repository), output.private or None
    return [
        callbacks.PushCheckpoints(lambda name: checkpoints.push_checkpoint(work, name, repository, private=private))
    ]


def run_search(flags: Mapping[str, Any], settings: TrainSettings, parser: cli.Parser, given: set[str]) -> None:
    """Run the trials of a hyperparameter search, or show a preview or dry run of one."""
    from codefit.training import search

    plan, output = search.plan_search(settings, flags, parser), settings.output
    asked = checked(flags, settings, parser, given)
    if asked.is_done:
        return None
    search.describe(plan)
    if output.only_looks:
        look = ["--dry_run"] if output.dry_run else ["--preview", str(output.preview)]
        return main([*plan.fixed, *look, "--output_dir", str(output.output_dir)])
    with claimed(asked):
        manifest = Manifest(asked.flags)
        add_inputs(asked, manifest)
        search.run(plan, manifest, main)
    return None


def build_trainer(
    asked: Command, work: Path, model: Any, encoder: Any, packed: Any, found: Any, *, resumed: bool
) -> Any:
    """Return the trainer for the encoded samples."""
    from codefit import encoding
    from codefit.training import packing
    from codefit.training.heldout_eval import HeldOut
    from codefit.training.trainer import make_trainer

    settings, settled = asked.settings, asked.settled
    validation, replay = (
        packing.PackedRows(samples, settled.max_length, encoder.pad_id, isolates=packed.isolates)
        for samples in (found.validation, found.replay)
    )
    prompts = found.asked[: settings.watch.eval_predictions]
    if settings.from_scratch:  # half of the context window is for what the model writes
        encoder = encoding.Encoder(encoder.tokenizer, min(settled.max_prompt_tokens, settled.max_length // 2))
    held_out = HeldOut(prompts, encoder) if prompts else None
    watched = (validation, replay if found.replay else None, held_out)
    return make_trainer(settings, settled.save_steps, work, model, packed, *watched, resumed=resumed)


def run(trainer: Any, checkpoint: Path | None) -> tuple[Any, dict[str, float]]:
    """Train to the end, from a checkpoint if there is one; return the Trainer's result and the last validation.

    Raises:
        UserError: training was stopped by a signal, after a checkpoint was saved.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    if checkpoint:
        console.show(f"continuing from {checkpoint}")
    trainer.losses.checkpoint = checkpoint
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.stop.received and result.global_step < trainer.state.max_steps:
        said = f"stopped after step {result.global_step} of {trainer.state.max_steps}, with a checkpoint"
        raise (Interrupted if trainer.stop.received == signal.SIGINT else UserError)(
            f"{said}; continue with: {command()}"
        )
    for tracker in get_reporting_integration_callbacks(trainer.args.report_to):  # it would start a second run
        trainer.remove_callback(tracker)
    return result, trainer.evaluate()


if __name__ == "__main__":
    cli.run(main, computes=True)
