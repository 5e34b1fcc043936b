"""From a data set to the samples of a run: training and validation samples, and a ledger of all rows."""

import dataclasses
import itertools
import random
from collections.abc import Iterable
from pathlib import Path

from codefit import console, distributed, encoding, records
from codefit.encoding import Encoder, Sample
from codefit.errors import UserError
from codefit.records import Pair
from codefit.training import curriculum, scratch
from codefit.training.settings import ScheduleSettings, TrainSettings

REFUSED_LOSS = 0.1  # share of the rows that may be dropped
SHOWN_LINES = 8  # of a document that a model from scratch continues during training


@dataclasses.dataclass(frozen=True)
class RunSamples:
    """The samples of a run.

    Attributes:
        train: training samples in random order, including those of --replay.
        validation: a fixed sample of the validation split.
        replay: the same of the replay data set, for measuring forgetting; empty without --replay.
        asked: validation pairs that the model completes during training; from scratch, beginnings of documents.
        ledger: how many rows of the training split were used, cut or dropped, by reason.
    """

    train: list[Sample]
    validation: list[Sample]
    replay: list[Sample]
    asked: list[Pair]
    ledger: dict[str, int]


def read(settings: TrainSettings, max_length: int, dataset: Path, replay: Path | None, encoder: Encoder) -> RunSamples:
    """Return the samples of a run.

    Raises:
        UserError: a split is empty, or too many rows would be dropped.
    """
    share = settings.data.replay_ratio if replay else 0.0
    needed = tokens_needed(settings.schedule, max_length) * (1 - share)
    train, validation, asked, ledger = _read_own(settings, max_length, dataset, encoder, needed)
    refuse_losses(ledger)
    if not train or not validation:
        raise UserError(f"{dataset} has no usable rows for training or validation; prepare it from more files.")
    of_prompts = settings.data.train_on_prompt
    if replay is None:
        return RunSamples(with_prompts(train, of_prompts), validation, [], asked, ledger)
    wanted = share / (1 - share) * sum(len(sample.ids) for sample in train)
    mixed_in, held_out, counts = _read_replay(settings, max_length, replay, encoder, wanted)
    ledger |= {f"replay {reason}": count for reason, count in counts.items()}
    train += mixed_in
    random.Random(settings.seed).shuffle(train)
    return RunSamples(with_prompts(train, of_prompts), validation, held_out, asked, ledger)


def _shuffled(dataset: Path, seed: int) -> tuple[random.Random, list[Pair], list[Pair]]:
    """Return both splits, shuffled, so that a run that needs only some rows gets them from all files."""
    chance = random.Random(seed)
    train, validation = (
        list(records.read_jsonl(dataset / f"{split}.jsonl", Pair)) for split in ("train", "validation")
    )
    for pairs in (train, validation):
        chance.shuffle(pairs)
    return chance, train, validation


def _read_own(
    settings: TrainSettings, max_length: int, dataset: Path, encoder: Encoder, needed: float
) -> tuple[list[Sample], list[Sample], list[Pair], dict[str, int]]:
    chance, train, validation = _shuffled(dataset, settings.seed)
    if settings.from_scratch:
        if any(pair.task != "document" for pair in train):
            raise UserError(f"{dataset} holds pairs, not whole documents; prepare it with --task document.")
        documents = train
        order = settings.curriculum
        if order.curriculum and order.curriculum_by != curriculum.OWN_LOSS:
            documents, needed = curriculum.by_difficulty(order, train, encoder, needed), float("inf")
        reading = console.progress(documents, "encode", unit="document")
        samples = list(scratch.samples(reading, encoder, max_length, settings.data.fim_rate, settings.seed, needed))
        held_out = list(scratch.samples(validation, encoder, max_length, 0.0, settings.seed))
        chance.shuffle(held_out)
        ledger = {"read": len(train), "trained": len(samples)}
        return samples, held_out[: settings.data.validation_samples], document_prompts(validation), ledger
    if any(pair.task == "document" for pair in train):
        raise UserError(f"{dataset} holds whole documents, not pairs; prepare it without --task document.")
    reading = console.progress(train, "encode", unit="pair")
    samples, ledger = encoding.encode(reading, encoder, max_length, needed, both_orders=True)
    samples, ledger = _no_more_than(needed, samples, ledger)
    fixed = validation[: settings.data.validation_samples]
    held_out, _ = encoding.encode(fixed, encoder, max_length)
    return samples, held_out, [pair for pair in fixed if pair.completion], ledger


def with_prompts(samples: list[Sample], share: float) -> list[Sample]:
    """Return the samples with weights that give their prompts a share of the loss.

    The weights are those of all samples together, so that a long prompt weighs more than a short one, and replay keeps
    its share. Their mean over all labels is 1.
    """
    prompts = sum(max(0, sample.start - 1) for sample in samples)
    completions = sum(len(sample.ids) - max(1, sample.start) for sample in samples)
    if not share or not prompts or not completions:
        return samples
    total = prompts + completions
    weights = share * total / prompts, (1 - share) * total / completions
    return [dataclasses.replace(sample, weights=weights) for sample in samples]


def document_prompts(documents: Iterable[Pair]) -> list[Pair]:
    """Return a prompt for each document of two lines or more: its first lines, with the lines that follow them."""
    found = []
    for document in documents:
        lines = document.completion.splitlines(keepends=True)
        at = min(SHOWN_LINES, len(lines) // 2)
        if at:
            follows = "".join(lines[at : at + SHOWN_LINES])
            found.append(dataclasses.replace(document, prompt="".join(lines[:at]), completion=follows))
    return found


def _read_replay(
    settings: TrainSettings, max_length: int, dataset: Path, encoder: Encoder, wanted: float
) -> tuple[list[Sample], list[Sample], dict[str, int]]:
    """Return training samples of about `wanted` tokens (all where there are fewer), validation samples, the ledger."""
    _, train, validation = _shuffled(dataset, settings.seed)
    fixed = validation[: settings.data.validation_samples]
    if train and train[0].task == "document":
        reading = console.progress(train, "encode replay", unit="document")
        samples = list(scratch.samples(reading, encoder, max_length, 0.0, settings.seed, wanted))
        held_out = list(scratch.samples(fixed, encoder, max_length, 0.0, settings.seed))[
            : settings.data.validation_samples
        ]
        ledger = {"read": len(train), "trained": len(samples)}
    else:
        reading = console.progress(train, "encode replay", unit="pair")
        samples, ledger = encoding.encode(reading, encoder, max_length, wanted, both_orders=True)
        held_out, _ = encoding.encode(fixed, encoder, max_length)
        samples, ledger = _no_more_than(wanted, samples, ledger)
    if not held_out or (wanted and not samples):
        raise UserError(
            f"--replay {dataset} has no usable rows for training or validation; prepare it from more files."
        )
    return samples, held_out, ledger


def _no_more_than(wanted: float, samples: list[Sample], ledger: dict[str, int]) -> tuple[list[Sample], dict[str, int]]:
    """Return the samples up to `wanted` tokens, and their ledger; encoding works in batches, so there may be more."""
    ends = itertools.accumulate(len(sample.ids) for sample in samples)
    kept = samples[: sum(end <= wanted for end in ends) + (wanted > 0)]
    surplus = samples[len(kept) :]
    cut = ledger["cut"] - sum(sample.cut > 0 for sample in surplus)
    counts = {"trained": len(kept), "cut": cut, "not needed": ledger["not needed"] + len(surplus)}
    return kept, ledger | counts


def tokens_needed(schedule: ScheduleSettings, max_length: int) -> float:
    """Return how many tokens --max_steps can use on all processes together; infinity where epochs set the length."""
    if schedule.max_steps is None:
        return float("inf")
    rows = schedule.rows_per_step(distributed.processes())
    return float(schedule.max_steps * rows * max_length)


def refuse_losses(ledger: dict[str, int]) -> None:
    """Raise UserError when more than a tenth of the rows would be dropped."""
    dropped = ledger.get("too long", 0) + ledger.get("empty completion", 0)
    if dropped > REFUSED_LOSS * (dropped + ledger["trained"]):
        raise UserError(
            f"{dropped} of {dropped + ledger['trained']} rows would be dropped ({ledger['too long']} longer than "
            "--max_length, "
            f"{ledger['empty completion']} without a completion); raise --max_length or lower --max_prompt_tokens."
        )
