"""Fit a model to prepared pairs: a LoRA or QLoRA adapter, or a small model from scratch.

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
import json
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from codefit import cli, records
from codefit.cli import UserError
from codefit.records import Pair

# What may differ between a stopped run and the command that continues it: how long it goes on, and how it is shown.
FREE_TO_CHANGE = {
    "max_steps",
    "num_train_epochs",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "report_to",
    "overwrite",
}


SCHEDULES = ("linear", "cosine", "constant", "constant_with_warmup", "warmup_stable_decay")
ROW_TOKENS = 1024
PROMPT_TOKENS = 512  # for a data set of others, which says nothing about its prompts


def build_parser() -> cli.Parser:
    """Return the parser of this stage."""
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--dataset", default="data/kotlin_prepared_dataset", help="folder of preprocess_data.py, or a Hub data set")
    add("--model_name_or_path", default="microsoft/phi-1_5", help="base model: a folder or a Hub id")
    add("--revision", help="commit, tag or branch of the base model on the Hub")
    add("--output_dir", type=Path, default=Path("outputs/kotlin/adapter"), help="where the adapter or model goes")
    add("--hf_repository", help="Hub repository to push the result to; without it nothing leaves this machine")
    add("--seed", type=cli.number(int, 0), default=0, help="seed of initialisation, order and dropout")
    add("--preview", type=cli.number(int, 1), metavar="N", help="print N examples token by token, and stop")
    cli.add_output_flags(parser)
    _add_adapter_flags(parser.add_argument_group("adapter"))
    _add_schedule_flags(parser.add_argument_group("schedule (the Trainer's own names)"))
    _add_scratch_flags(parser.add_argument_group("from scratch"))
    return parser


def _add_adapter_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add("--load_in_4bit", action=argparse.BooleanOptionalAction, help="QLoRA; when absent: on if there is a GPU")
    add("--lora_r", type=positive, default=16, help="rank")
    add("--lora_alpha", type=cli.number(float, 0), default=32, help="scale is alpha / rank")
    add("--lora_dropout", type=cli.number(float, 0, 1), default=0.0, help="dropout in front of the adapter")
    add("--lora_target_modules", nargs="+", default=["all-linear"], help="names of modules, or all-linear")


def _add_schedule_flags(group: Any) -> None:
    add, positive, ratio = group.add_argument, cli.number(int, 1), cli.number(float, 0)
    add(
        "--max_prompt_tokens", type=positive, help="a longer prompt is cut on the left; when absent: as in the data set"
    )
    add("--max_length", type=positive, help=f"tokens in a row, into which examples are packed (default: {ROW_TOKENS}, "
        "or the context of the model if that is shorter)")  # fmt: skip
    add("--per_device_train_batch_size", type=positive, default=4, help="rows in a forward pass")
    add("--gradient_accumulation_steps", type=positive, default=4, help="forward passes in an optimizer step")
    add("--num_train_epochs", type=ratio, default=1.0, help="passes over the data, if --max_steps is absent")
    add("--max_steps", type=positive, help="optimizer steps")
    add("--learning_rate", type=ratio, default=2e-4, help="peak learning rate")
    add("--lr_scheduler_type", choices=SCHEDULES, default="cosine", help="how the learning rate goes down")
    add("--warmup_steps", type=ratio, default=0.03, help="steps of warm-up; under 1 a share of all steps")
    add("--weight_decay", type=ratio, default=0.0, help="decoupled weight decay")
    add("--max_grad_norm", type=ratio, default=1.0, help="gradients are clipped to this norm")
    add("--logging_steps", type=positive, default=10, help="steps between two lines of the log")
    add("--eval_steps", type=positive, default=50, help="steps between two validations")
    add("--save_steps", type=positive, default=200, help="steps between two checkpoints")
    add("--validation_samples", type=positive, default=256, help="a fixed sample of the validation split")
    add("--activation_checkpointing", action="store_true", help="less memory, a third more time")
    add("--torch_compile", action="store_true", help="compile the model; pays in long runs with rows of one shape")
    add("--report_to", nargs="+", default=["none"], help="tensorboard, wandb, trackio ...")


def _add_scratch_flags(group: Any) -> None:
    add, positive = group.add_argument, cli.number(int, 1)
    add("--from_scratch", action="store_true", help="train a new tokenizer and a new decoder on whole documents")
    add("--vocab_size", type=cli.number(int, 300), default=8192, help="tokens in the new vocabulary")
    add("--hidden_size", type=positive, default=256, help="width")
    add("--num_hidden_layers", type=positive, default=4, help="depth")
    add("--num_attention_heads", type=positive, default=4, help="attention heads")
    add("--intermediate_size", type=positive, default=1024, help="width of the feed-forward layers")
    add("--fim_rate", type=cli.number(float, 0, 1), default=0.5, help="share of chunks shown as fill-in-the-middle")


# ---------------------------------------------------------------------------------------------- model and data


def prepare_model(args: argparse.Namespace, dataset: Path, work: Path) -> tuple[Any, Any]:
    """Return tokenizer and model, ready for training."""
    import torch

    from codefit import models, scratch

    torch.manual_seed(args.seed)
    if not args.from_scratch:
        tokenizer = models.load_tokenizer(args.model_name_or_path, args.revision)
        model = models.load_model(args.model_name_or_path, revision=args.revision, load_in_4bit=args.load_in_4bit)
        targets = "all-linear" if args.lora_target_modules == ["all-linear"] else args.lora_target_modules
        lora = {"r": args.lora_r, "alpha": args.lora_alpha, "dropout": args.lora_dropout, "targets": targets}
        return tokenizer, models.add_lora(model, **lora)
    only_looking = args.dry_run or args.preview
    if (work / "tokenizer.json").is_file() and not only_looking:  # of the run that is being continued
        tokenizer = models.load_tokenizer(str(work))
    else:
        texts = (pair.completion for pair in records.read_jsonl(dataset / "train.jsonl", Pair))
        reading = cli.progress(texts, "train tokenizer", unit="document")
        tokenizer = scratch.train_tokenizer(reading, args.vocab_size, args.max_length or ROW_TOKENS)
        if not only_looking:
            tokenizer.save_pretrained(work)
    model = scratch.new_model(
        tokenizer,
        hidden_size=args.hidden_size,
        layers=args.num_hidden_layers,
        heads=args.num_attention_heads,
        intermediate_size=args.intermediate_size,
        context=args.max_length or ROW_TOKENS,
    )
    return tokenizer, model.to(models.device())


def read_samples(args: argparse.Namespace, dataset: Path, encoder: Any) -> tuple[list[Any], list[Any], dict[str, int]]:
    """Return training samples, validation samples, and the ledger of training rows.

    Raises:
        UserError: a split is empty, or too many rows cannot be trained.
    """
    from codefit import encoding, scratch

    chance = random.Random(args.seed)
    train, validation = (
        list(records.read_jsonl(dataset / f"{split}.jsonl", Pair)) for split in ("train", "validation")
    )
    for pairs in (train, validation):
        chance.shuffle(pairs)  # so that a run that needs only a part of the rows sees all files
    needed = tokens_needed(args)
    if args.from_scratch:
        if any(pair.task != "document" for pair in train):
            raise UserError(f"{dataset} holds pairs, not whole documents; prepare it with --task document.")
        reading = cli.progress(train, "encode", unit="document")
        samples = list(scratch.samples(reading, encoder, args.max_length, args.fim_rate, args.seed, needed))
        held_out = list(scratch.samples(validation, encoder, args.max_length, 0.0, args.seed))
        chance.shuffle(held_out)
        ledger = {"read": len(train), "trained": len(samples)}
    else:
        reading = cli.progress(train, "encode", unit="pair")
        samples, ledger = encoding.encode(reading, encoder, args.max_length, needed)
        held_out, _ = encoding.encode(validation[: args.validation_samples], encoder, args.max_length)
    refuse_losses(ledger)
    if not samples or not held_out:
        raise UserError(f"{dataset} has no usable rows for training or validation; prepare more files.")
    return samples, held_out[: args.validation_samples], ledger


def tokens_needed(args: argparse.Namespace) -> float:
    """Return how many tokens --max_steps can use, or infinity when epochs rule."""
    if args.max_steps is None:
        return float("inf")
    step: int = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.max_length
    return float(args.max_steps * step)


def refuse_shape(args: argparse.Namespace) -> None:
    """Raise UserError for a model from scratch that cannot be built."""
    if not args.from_scratch:
        return
    if args.hidden_size % (2 * args.num_attention_heads):
        raise UserError(
            f"--hidden_size {args.hidden_size} does not give {args.num_attention_heads} heads of even width; "
            "make it a multiple of twice --num_attention_heads."
        )
    if args.max_length and args.max_length < 32:
        raise UserError(f"--max_length {args.max_length} is too short for a model from scratch; give 32 or more.")


def row_tokens(args: argparse.Namespace, model: Any) -> int:
    """Return the length of a packed row. Raises UserError when the model's context is shorter than what was asked."""
    from codefit import models

    context = models.context_of(model)
    if args.max_length and args.max_length > context:
        raise UserError(
            f"the model's context holds {context} tokens, fewer than --max_length {args.max_length}; lower it."
        )
    return args.max_length or min(ROW_TOKENS, context)


def refuse_losses(ledger: dict[str, int]) -> None:
    """Raise UserError when more than a tenth of the rows would be dropped."""
    dropped = ledger.get("too long", 0) + ledger.get("empty completion", 0)
    if dropped > 0.1 * (dropped + ledger["trained"]):
        raise UserError(
            f"{dropped} of {dropped + ledger['trained']} rows would be dropped ({ledger['too long']} longer than "
            "--max_length, "
            f"{ledger['empty completion']} without a completion); raise --max_length or lower --max_prompt_tokens."
        )


# ---------------------------------------------------------------------------------------------- training


def claim(args: argparse.Namespace, dataset: Path, work: Path) -> None:
    """Take the folder of an unfinished run over, or make a new one.

    Raises:
        UserError: the folder holds an unfinished run with other arguments.
    """
    wanted = {name: str(value) for name, value in vars(args).items() if name not in FREE_TO_CHANGE}
    wanted["sha256 of train.jsonl"] = cli.sha256(dataset / "train.jsonl")
    record = work / "arguments.json"
    if not record.is_file():
        shutil.rmtree(work, ignore_errors=True)  # no run of this stage, or one whose result was being saved
    else:
        had = json.loads(record.read_text(encoding="utf-8"))
        changed = [f"{name} {had.get(name)} -> {value}" for name, value in wanted.items() if had.get(name) != value]
        if changed and not args.overwrite:
            raise UserError(
                f"{work} holds an unfinished run with other arguments ({', '.join(changed)}); "
                "run that command again, or add --overwrite to start anew."
            )
        if changed:
            shutil.rmtree(work)
    cli.make_folder(work)
    record.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def save(args: argparse.Namespace, work: Path, trainer: Any, tokenizer: Any) -> None:
    """Leave in the folder what a reader of the result needs, and nothing of the way there."""
    import torch

    from codefit import models
    from codefit.report import plots

    model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    if args.from_scratch:
        models.set_generation_defaults(model, tokenizer)
        models.save(model, tokenizer, work, torch.bfloat16)
    else:
        config = model.peft_config["default"]
        config.base_model_name_or_path = args.model_name_or_path
        config.revision = getattr(model.config, "_commit_hash", None) or args.revision
        model.save_pretrained(work)
        tokenizer.save_pretrained(work)
    trainer.state.save_to_json(str(work / "trainer_state.json"))
    plots.loss_curve(trainer.state.log_history, work / "loss.png")


def tidy(output: Path) -> None:
    """Remove what a finished run needs no more. Only now: until the result had its place, it could be continued."""
    for checkpoint in output.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    (output / "arguments.json").unlink()


def hand_on(args: argparse.Namespace, manifest: cli.Manifest, dataset: Path) -> None:
    """Put into the manifest what merge_lora.py and benchmarking.py need to know."""
    from codefit import models

    for split in ("train", "validation"):
        manifest.add_input(dataset / f"{split}.jsonl")
    manifest.update(
        base_model=None if args.from_scratch else args.model_name_or_path,
        load_in_4bit=args.load_in_4bit,
        dtype=str(models.compute_dtype()),
        dataset=args.dataset,
        max_prompt_tokens=args.max_prompt_tokens,
    )


def settle(args: argparse.Namespace) -> Path:
    """Refuse what cannot work, fill what was left open from what the data set knows, and return its folder."""
    cli.refuse_existing(args.output_dir, args.overwrite or bool(args.preview) or args.dry_run)
    refuse_shape(args)
    dataset = records.dataset_folder(args.dataset)
    if dataset.resolve() == args.output_dir.resolve():
        raise UserError("--output_dir is the data set itself; name another folder.")
    prepared = cli.read_manifest(dataset).get("arguments", {})
    args.max_prompt_tokens = args.max_prompt_tokens or prepared.get("max_prompt_tokens", PROMPT_TOKENS)
    if args.hf_repository and not (args.dry_run or args.preview):
        from codefit import hub

        hub.preflight(args.hf_repository, "model", private=None)
    return dataset


def main(argv: Sequence[str] | None = None) -> None:
    """Encode, train, save, push."""
    args = build_parser().parse_args(argv)
    dataset = settle(args)
    manifest = cli.Manifest(args)

    from codefit import encoding, models, training

    if args.load_in_4bit is None:
        args.load_in_4bit = models.device().type == "cuda" and not args.from_scratch
    work = cli.partial(args.output_dir)
    if not (args.preview or args.dry_run):
        claim(args, dataset, work)
    tokenizer, model = prepare_model(args, dataset, work)
    args.max_length = row_tokens(args, model)
    encoder = encoding.Encoder(tokenizer, args.max_prompt_tokens)
    train, validation, ledger = read_samples(args, dataset, encoder)
    if args.preview:
        for sample in train[: args.preview]:
            print(encoding.preview(sample, encoder, sys.stdout.isatty()))
        return
    rows = training.PackedRows(train, args.max_length, encoder.pad_id)
    describe(args, model, rows, ledger)
    if args.dry_run:
        return

    held_out = training.PackedRows(validation, args.max_length, encoder.pad_id)
    trainer = training.make_trainer(args, work, model, rows, held_out)
    checkpoint = training.last_checkpoint(work)
    if checkpoint:
        print(f"continuing from {checkpoint}")
    result = trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    final = trainer.evaluate()

    save(args, work, trainer, tokenizer)
    hand_on(args, manifest, dataset)
    measured = {"train_loss": result.training_loss, "train_seconds": result.metrics["train_runtime"]}
    manifest.update(ledger=ledger, **encoding.counts(train), steps=result.global_step, validation=final, **measured)
    manifest.write(work)
    cli.commit(work, args.output_dir)
    tidy(args.output_dir)
    report(args, result, final)
    if args.hf_repository:
        from codefit import hub

        push = hub.push_merged if args.from_scratch else hub.push_adapter
        print(f"pushed:  {push(args.output_dir, args.hf_repository)}")


def describe(args: argparse.Namespace, model: Any, rows: Any, ledger: dict[str, int]) -> None:
    """Say what is about to be trained, on what, and where the result will be."""
    from codefit import encoding

    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    counts = encoding.counts(rows.samples)
    fill = counts["tokens"] / (len(rows) * rows.row_tokens)
    per_step = args.per_device_train_batch_size * args.gradient_accumulation_steps
    steps = args.max_steps or int(-(-len(rows) * args.num_train_epochs // per_step))
    print(f"parameters  {trained:,} trained of {total:,}")
    print("rows        " + ", ".join(f"{count:,} {reason}" for reason, count in ledger.items() if count))
    print(
        f"tokens      {counts['tokens']:,}, {counts['label_tokens']:,} of them with a label; "
        f"packed into {len(rows):,} rows of {rows.row_tokens} ({fill:.0%} full)"
    )
    print(f"steps       {steps:,} of {per_step} rows, {steps * per_step / len(rows):.2f} epochs")
    print(f"output      {args.output_dir}")


def report(args: argparse.Namespace, result: Any, final: dict[str, float]) -> None:
    """Say what came out, and what to run next."""
    print(f"trained {result.global_step} steps in {cli.duration(result.metrics['train_runtime'])}: ", end="")
    print(f"validation loss {final['eval_loss']:.4f} nats, {final['eval_bits_per_byte']:.4f} bits per byte")
    print(f"curve:   {args.output_dir / 'loss.png'}")
    print(f"output:  {args.output_dir}")
    if not args.from_scratch:
        print(f"next:    python merge_lora.py --hf_repository {args.output_dir}")


if __name__ == "__main__":
    cli.run(main)
