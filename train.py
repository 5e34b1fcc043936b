"""Fit a model to prepared pairs: a LoRA or QLoRA adapter, all weights, or a small model from scratch.

The smallest command fits microsoft/phi-1_5 to data/kotlin_prepared_dataset, in 4 bits when there is a GPU:

    python train.py

The same on the embedded base model, and what it would do:

    python train.py --dataset data/kotlin_prepared_dataset --model_name_or_path data/base \\
        --output_dir outputs/kotlin/adapter --max_steps 300 --learning_rate 2e-3
    python train.py --model_name_or_path data/base --dry_run
    python train.py --model_name_or_path data/base --preview 3

A run that was stopped continues from its last checkpoint when the same command is run again.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from codefit import cli, console, distributed, outputs, records
from codefit.errors import UserError
from codefit.manifest import Manifest, command, read_manifest
from codefit.records import MAX_PROMPT_TOKENS, Pair
from codefit.training import flag_checks, run_folder, scratch_flags

SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay")
INITS = ("default", "gaussian", "orthogonal", "loftq", *flag_checks.SVD_INITS)
BEST = ("loss", "bits_per_byte", "accuracy", "replay_loss", *flag_checks.PREDICTED)
ROW_TOKENS = 1024


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--dataset", default="data/kotlin_prepared_dataset", help="folder of preprocess_data.py, or a Hub data set")
    add("--model_name_or_path", default="microsoft/phi-1_5", help="base model: a folder or a Hub id")
    add("--revision", help="commit, tag or branch of the base model on the Hub")
    add("--output_dir", type=Path, default=Path("outputs/kotlin/adapter"), help="where the adapter or model goes")
    add("--hf_repository", help="Hub repository to push the result to; without it nothing leaves this machine")
    add("--private", action="store_true", help="push only to a private repository; a new one is made private")
    add("--seed", type=cli.number(int, 0), default=0, help="seed of initialisation, order and dropout")
    add("--full_finetuning", action="store_true", help="train all weights instead of an adapter")
    add("--replay", help="prepared data set of general code, mixed in so that the base's language is not forgotten")
    add("--replay_ratio", type=cli.number(float, 0, 0.9), default=0.1, help="its share of the tokens; 0 only measures")
    add("--preview", type=cli.number(int, 1), metavar="N", help="print N examples token by token, and stop")
    cli.add_output_flags(parser)
    _add_adapter_flags(parser.add_argument_group("adapter"))
    _add_schedule_flags(parser.add_argument_group("schedule (the Trainer's own names)"))
    _add_watching_flags(parser.add_argument_group("what is watched"))
    scratch_flags.add(parser.add_argument_group("from scratch"))
    scratch_flags.add_search(parser.add_argument_group("hyper-parameter search"))
    return parser


def _add_adapter_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add("--load_in_4bit", action=argparse.BooleanOptionalAction, help="QLoRA; when absent: on if there is a GPU")
    add("--lora_r", type=positive, default=16, help="rank")
    add("--lora_alpha", type=cli.number(float, 1e-3), default=32, help="scale is alpha / rank")
    add("--lora_dropout", type=cli.number(float, 0, 0.9), default=0.0, help="dropout in front of the adapter")
    add("--lora_target_modules", nargs="+", default=["all-linear"], help="names of modules, or all-linear")
    add("--use_rslora", action="store_true", help="scale is alpha / sqrt(rank): for ranks of 64 and more")
    add("--use_dora", action="store_true", help="direction and magnitude apart: better at low ranks, half as fast")
    add("--init_lora_weights", choices=INITS, default="default", help="how the adapter begins; loftq is for 4 bits")
    add("--loraplus_lr_ratio", type=cli.number(float, 1), help="LoRA+: the second matrix learns faster by this; try 16")


def _add_schedule_flags(group: Any) -> None:
    add, positive, ratio = group.add_argument, cli.number(int, 1), cli.number(float, 0)
    add(
        "--max_prompt_tokens",
        type=cli.number(int, 8),
        help="a longer prompt is cut on the left; when absent: as in the data",
    )
    add("--max_length", type=positive, help=f"tokens in a row, into which examples are packed (default: {ROW_TOKENS}, "
        "or the context of the model if that is shorter)")  # fmt: skip
    add("--per_device_train_batch_size", type=positive, default=4, help="rows in a forward pass")
    add("--gradient_accumulation_steps", type=positive, default=4, help="forward passes in an optimizer step")
    add(
        "--num_train_epochs",
        type=cli.number(float, 1e-3),
        default=1.0,
        help="passes over the data, if --max_steps is absent",
    )
    add("--max_steps", type=positive, help="optimizer steps")
    add("--learning_rate", type=cli.number(float, 1e-12), default=2e-4, help="peak learning rate")
    add("--lr_scheduler_type", choices=SCHEDULES, default="cosine", help="how the learning rate goes down")
    add("--warmup_steps", type=ratio, default=0.03, help="steps of warm-up; under 1 a share of all steps")
    add("--weight_decay", type=ratio, default=0.0, help="decoupled weight decay")
    add("--max_grad_norm", type=ratio, default=1.0, help="gradients are clipped to this norm")
    add("--activation_checkpointing", action="store_true", help="less memory, a third more time")
    add("--torch_compile", action="store_true", help="compile the model; pays in long runs with rows of one shape")


def _add_watching_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add("--logging_steps", type=positive, default=10, help="steps between two lines of the log")
    add("--eval_steps", type=positive, default=50, help="steps between two validations")
    add("--save_steps", type=positive, help="steps between two checkpoints (default: 200, or --eval_steps with "
        "--load_best_model_at_end)")  # fmt: skip
    add("--save_minutes", type=cli.number(float, 0), default=5.0, help="minutes after which there is a checkpoint too")
    add("--validation_samples", type=positive, default=256, help="a fixed sample of the validation split")
    add("--eval_predictions", type=cli.number(int, 0), default=128, metavar="N", help="of these, prompts that the "
        "model completes at each validation, for edit similarity, exact match and next line; 0 is none")  # fmt: skip
    add("--load_best_model_at_end", action="store_true", help="keep the best checkpoint instead of the last state")
    add("--metric_for_best_model", choices=BEST, default="loss", help="what is best, in validation")
    add("--early_stopping_patience", type=positive, metavar="N", help="stop after N validations that were not better")
    add("--report_to", nargs="+", choices=flag_checks.REPORT_TO, default=["none"], help="where else the log goes")


# ---------------------------------------------------------------------------------------------- model and data


def prepare_base(args: argparse.Namespace, datasets: Sequence[Path], work: Path) -> tuple[Any, Any]:
    """Return tokenizer and model of a base, with what is trained of it."""
    import torch

    from codefit.modeling import adapters, loading, sentinels

    torch.manual_seed(args.seed)
    tokenizer = loading.load_tokenizer(args.model_name_or_path, args.revision)
    new = sentinels.missing(tokenizer, datasets)
    flag_checks.refuse_new_tokens(args, new)
    looking = args.dry_run or args.preview
    model = loading.load_model(
        args.model_name_or_path,
        revision=args.revision,
        load_in_4bit=args.load_in_4bit,
        dtype=torch.float32 if args.full_finetuning else None,
        place=torch.device("meta") if looking else None,
    )
    if new:
        console.show(
            f"{args.model_name_or_path} has no fill-in-the-middle sentinels: new tokens are trained, {' '.join(new)}"
        )
    new_tokens = sentinels.add(tokenizer, model, new) if new else []
    loading.fit_tokens(tokenizer, len(model.get_input_embeddings().weight), args.model_name_or_path)
    if args.full_finetuning:
        return tokenizer, adapters.all_weights(model)
    model = adapters.add_lora(
        model,
        r=args.lora_r,
        alpha=args.lora_alpha,
        dropout=args.lora_dropout,
        targets="all-linear" if args.lora_target_modules == ["all-linear"] else args.lora_target_modules,
        use_rslora=args.use_rslora,
        use_dora=args.use_dora,
        init="default" if looking else args.init_lora_weights,
        new_tokens=new_tokens,
    )
    if args.init_lora_weights == "loftq" and not looking:
        adapters.begin_with_loftq(model, args.model_name_or_path, args.revision)
    if args.init_lora_weights in flag_checks.SVD_INITS and not looking and distributed.is_first_process():
        adapters.keep_beginning(model, work / run_folder.BEGINNING)
    return tokenizer, model


def prepare_new_model(args: argparse.Namespace, dataset: Path, work: Path) -> tuple[Any, Any]:
    """Return a new tokenizer and a new model."""
    import torch

    from codefit.modeling import hardware, loading
    from codefit.training import scratch

    torch.manual_seed(args.seed)
    only_looking = args.dry_run or args.preview
    # the others make the same tokenizer, and never read one that is being written
    writes = distributed.is_first_process() and not only_looking
    if not (writes and (work / "tokenizer.json").is_file()):  # of the run that is being continued
        texts = (pair.completion for pair in records.read_jsonl(dataset / "train.jsonl", Pair))
        reading = console.progress(texts, "train tokenizer", unit="document")
        context = args.max_length or ROW_TOKENS
        tokenizer = scratch.train_tokenizer(reading, args.vocab_size, context, args.tokenizer_type)
        if writes:
            tokenizer.save_pretrained(work)
    if writes:  # read back, so that a resumed run has the same one
        tokenizer = loading.load_tokenizer(str(work))
    model = scratch.new_model(
        tokenizer,
        hidden_size=args.hidden_size,
        layers=args.num_hidden_layers,
        heads=args.num_attention_heads,
        intermediate_size=args.intermediate_size,
        context=args.max_length or ROW_TOKENS,
    )
    return tokenizer, model.to(hardware.device())


def row_tokens(args: argparse.Namespace, model: Any) -> int:
    """Return the length of a packed row. Raises UserError when the model's context is shorter than what was asked."""
    from codefit.modeling import loading

    context = loading.context_of(model)
    if args.max_length and args.max_length > context:
        raise UserError(
            f"the model's context holds {context} tokens, fewer than --max_length {args.max_length}; lower it."
        )
    return args.max_length or min(ROW_TOKENS, context)


# ---------------------------------------------------------------------------------------------- training


def save(args: argparse.Namespace, work: Path, trainer: Any, tokenizer: Any) -> None:
    """Leave in the folder what a reader of the result needs, and nothing of the way there."""
    import torch

    from codefit.modeling import adapters
    from codefit.training import plots

    weights = trainer.weights()
    if not distributed.is_first_process():
        return
    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if args.from_scratch or args.full_finetuning:  # what was fitted keeps the small steps that bfloat16 would lose
        adapters.save_whole(model, tokenizer, work, torch.bfloat16 if args.from_scratch else torch.float32, weights)
    else:
        beginning = work / run_folder.BEGINNING if args.init_lora_weights in flag_checks.SVD_INITS else None
        adapters.save(model, work, args.model_name_or_path, args.revision, beginning, weights)
        tokenizer.save_pretrained(work)
    trainer.state.save_to_json(str(work / "trainer_state.json"))
    plots.loss_curve(trainer.state.log_history, work / "loss.png")


def hand_on(args: argparse.Namespace, manifest: Manifest, dataset: Path, replay: Path | None) -> None:
    """Put into the manifest what merge_lora.py and benchmarking.py need to know."""
    from codefit.modeling import hardware

    for folder in (dataset, *([replay] if replay else [])):
        for split in ("train", "validation"):
            manifest.add_input(folder / f"{split}.jsonl")
    manifest.update(
        base_model=None if args.from_scratch else args.model_name_or_path,
        base_revision=args.revision,
        load_in_4bit=args.load_in_4bit,
        dtype=str(hardware.compute_dtype()),
        dataset=args.dataset,
        max_prompt_tokens=args.max_prompt_tokens,
        replay=args.replay,
    )


def settle(args: argparse.Namespace, parser: cli.Parser, given: set[str]) -> tuple[Path, Path | None]:
    """Refuse what cannot work, fill what was left open from what the data set knows, and return the folders of data."""
    flag_checks.refuse(args, given, parser.group("from scratch"), parser.group("adapter"))
    outputs.refuse_existing(args.output_dir, args.overwrite or bool(args.preview) or args.dry_run)
    scratch_flags.refuse(args)
    dataset = records.dataset_folder(args.dataset)
    replay = records.dataset_folder(args.replay) if args.replay else None
    prepared = read_manifest(dataset).get("arguments", {})
    args.max_prompt_tokens = args.max_prompt_tokens or prepared.get("max_prompt_tokens") or MAX_PROMPT_TOKENS
    args.save_steps = args.save_steps or (args.eval_steps if args.load_best_model_at_end else 200)
    if args.hf_repository and not args.preview:
        from codefit.publishing import push

        push.check_repository(args.hf_repository, "model", private=args.private or None, create=not args.dry_run)
    return dataset, replay


def quantised(args: argparse.Namespace) -> bool:
    """Return whether the base is loaded in 4 bits, where that was left open."""
    from codefit.modeling import hardware

    if args.from_scratch or args.full_finetuning or args.init_lora_weights in flag_checks.SVD_INITS:
        return False
    return hardware.device().type == "cuda" or args.init_lora_weights == "loftq"


def main(argv: Sequence[str] | None = None, watching: Sequence[Any] = ()) -> None:
    """Encode, train, save, push; or search, with one such run a trial, in which callbacks are watching."""
    parser = build_parser()
    args = parser.parse_args(argv)
    given = parser.given(argv)
    if args.trials or args.search:
        return run_search(args, parser, given)
    dataset, replay = settle(args, parser, given)
    with claimed(args, [dataset, *([replay] if replay else [])]):
        fit(args, parser, given, dataset, replay, watching)
    if args.hf_repository and not only_looks(args) and distributed.is_first_process():
        from codefit.publishing import push

        push_result = push.push_merged if args.from_scratch or args.full_finetuning else push.push_adapter
        console.show(f"pushed:  {push_result(args.output_dir, args.hf_repository, private=args.private or None)}")


def only_looks(args: argparse.Namespace) -> bool:
    """Return whether nothing is trained or written."""
    return bool(args.preview or args.dry_run)


@contextlib.contextmanager
def claimed(args: argparse.Namespace, datasets: Sequence[Path]) -> Iterator[None]:
    """Hold the lock of the output, from here until the result has its place, and the folder that it is built in."""
    if only_looks(args) or not distributed.is_first_process():
        yield
        return
    with outputs.alone(args.output_dir):
        outputs.refuse_existing(args.output_dir, args.overwrite)  # again: another run may have ended since
        run_folder.claim(vars(args), args.overwrite, datasets, outputs.partial(args.output_dir))
        yield


def fit(
    args: argparse.Namespace,
    parser: cli.Parser,
    given: set[str],
    dataset: Path,
    replay: Path | None,
    watching: Sequence[Any],
) -> None:
    """Encode, train and save; or show what would be."""
    manifest = Manifest(vars(args))

    from codefit import encoding
    from codefit.modeling import loading
    from codefit.training import curriculum, estimate, isolation, packing, samples, trainer_settings
    from codefit.training.trainer import wait_for_others

    args.load_in_4bit = quantised(args) if args.load_in_4bit is None else args.load_in_4bit
    work = outputs.partial(args.output_dir)
    if not only_looks(args):
        wait_for_others()
    datasets = [dataset, *([replay] if replay else [])]
    tokenizer, model = (
        prepare_new_model(args, dataset, work) if args.from_scratch else prepare_base(args, datasets, work)
    )
    args.max_length = row_tokens(args, model)
    encoder = encoding.Encoder(tokenizer, args.max_prompt_tokens, ends=loading.ends_in(model))
    found = samples.read(args, dataset, replay, encoder)
    if args.preview:
        for sample in found.train[: args.preview]:
            sys.stdout.write(encoding.preview(sample, encoder, sys.stdout.isatty()) + "\n")
        return
    packed = packing.PackedRows(
        found.train, args.max_length, encoder.pad_id, curriculum.plan(args), isolates=isolation.may_pack(model)
    )
    estimate.describe(args, model, packed, found.ledger)
    estimate.refuse_full_disk(args, model)
    if args.dry_run:
        trainer_settings.training_arguments(args, work)
        estimate.foresee(args, model, packed, estimate.sources(args, parser, given, dataset))
        return
    checkpoint = run_folder.last(work)
    trainer = build_trainer(args, work, model, encoder, packed, found, resumed=checkpoint is not None)
    for callback in watching:
        trainer.add_callback(callback)
    result, final = run(trainer, checkpoint)
    save(args, work, trainer, tokenizer)
    if not distributed.is_first_process():
        return
    hand_on(args, manifest, dataset, replay)
    measured = {"train_loss": result.training_loss, "train_seconds": result.metrics["train_runtime"]}
    peak = estimate.peak_memory()
    measured |= {"peak_memory_bytes": peak, "steps": result.global_step, "validation": final}
    manifest.update(ledger=found.ledger, **encoding.counts(found.train), **measured)
    manifest.write(work)
    run_folder.put_away(work)
    outputs.commit(work, args.output_dir)
    report(args, trainer, result, final, estimate.size(peak))


def run_search(args: argparse.Namespace, parser: cli.Parser, given: set[str]) -> None:
    """Run the trials of a hyper-parameter search."""
    from codefit.training import search

    plan = search.plan_search(args, parser)
    dataset, replay = settle(args, parser, given)
    with claimed(args, [dataset, *([replay] if replay else [])]):
        search.run(args, plan, main)


def build_trainer(
    args: argparse.Namespace, work: Path, model: Any, encoder: Any, packed: Any, found: Any, *, resumed: bool
) -> Any:
    """Return the trainer of the samples that were found."""
    from codefit.training import packing
    from codefit.training.heldout_eval import HeldOut
    from codefit.training.trainer import make_trainer

    validation, replay = (
        packing.PackedRows(held_out, args.max_length, encoder.pad_id, isolates=packed.isolates)
        for held_out in (found.validation, found.replay)
    )
    asked = found.asked[: args.eval_predictions]
    held_out = HeldOut(asked, encoder) if asked else None
    return make_trainer(
        args, work, model, packed, validation, replay if found.replay else None, held_out, resumed=resumed
    )


def run(trainer: Any, checkpoint: Path | None) -> tuple[Any, dict[str, float]]:
    """Train to the end, from a checkpoint if there is one; return the Trainer's result and the last validation.

    Raises:
        UserError: it was stopped by a signal; a checkpoint is saved.
    """
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    if checkpoint:
        console.show(f"continuing from {checkpoint}")
    trainer.losses.checkpoint = checkpoint
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if trainer.stop.received and result.global_step < trainer.state.max_steps:
        raise UserError(
            f"stopped at step {result.global_step} of {trainer.state.max_steps}, all of them saved; "
            f"continue with: {command()}"
        )
    for tracker in get_reporting_integration_callbacks(trainer.args.report_to):  # it would open a second run for this
        trainer.remove_callback(tracker)
    return result, trainer.evaluate()


def report(args: argparse.Namespace, trainer: Any, result: Any, final: dict[str, float], peak: str) -> None:
    """Say what came out, how much memory it took at the peak, and what to run next."""
    took = console.duration(result.metrics["train_runtime"])
    console.show(f"trained {result.global_step} steps in {took}, {peak} at the peak:")
    console.show(f"validation loss {final['eval_loss']:.4f} nats, {final['eval_bits_per_byte']:.4f} bits per byte,")
    console.show(
        f"perplexity {final['eval_perplexity']:.4g}, next token right in {final['eval_accuracy']:.1%}, "
        f"among the first five in {final['eval_top_5_accuracy']:.1%}"
    )
    if trainer.held_out:
        console.show(f"completing {len(trainer.held_out.pairs)} validation prompts, ", end="")
        console.show(
            f"{console.duration(trainer.predicting_seconds)} in all: {final['eval_edit_similarity']:.1f} % edit ",
            end="",
        )
        console.show(f"similarity, {final['eval_exact_match']:.1f} % exact, next line {final['eval_next_line']:.1f} %")
    if trainer.replay:
        before = next(row["eval_replay_loss"] for row in trainer.state.log_history if "eval_replay_loss" in row)
        console.show(f"forgetting: replay loss {before:.4f} -> {final['eval_replay_loss']:.4f} nats")
    if trainer.state.best_model_checkpoint and args.load_best_model_at_end:
        console.show(f"kept:    step {trainer.state.best_global_step}, the best by {args.metric_for_best_model}")
    console.show(f"curve:   {args.output_dir / 'loss.png'}")
    console.show(f"output:  {args.output_dir}")
    if args.full_finetuning:
        console.show(f"next:    python benchmarking.py --hf_repository {args.output_dir}")
    elif not args.from_scratch:
        console.show(f"next:    python merge_lora.py --hf_repository {args.output_dir}")


if __name__ == "__main__":
    cli.run(main)
