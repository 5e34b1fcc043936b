"""What the models of a benchmark answer: greedy completions, and how likely each model finds the references."""

import argparse
import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import torch

from codefit import (
    contenders,
    encoding,
    generation,
    likelihood,
    models,
    prediction_cache,
    questions,
    slices,
    stopping,
    suspicion,
)
from codefit.cli import UserError
from codefit.encoding import Encoder
from codefit.questions import Questions
from codefit.records import Pair, Prediction
from codefit.retrieval import TrainingData


@dataclasses.dataclass(frozen=True, slots=True)
class Answers:
    """What one model answered to one benchmark, and how it was asked.

    `decoding` holds by name what can move the answers beside model and prompts; `flips` are the completions that were
    others in other batches, of those that were asked again. It is part of the signature of every score.
    """

    items: list[Prediction]
    decoding: dict[str, str]


def of_models(
    args: argparse.Namespace,
    by_role: dict[str, Any],
    asked: Sequence[Questions],
    encoders: dict[str, Encoder],
    training: TrainingData | None,
) -> dict[str, dict[str, Answers]]:
    """Return what every model answers, by benchmark and role.

    Raises:
        UserError: a prompt is too long for a model, or a batch does not fit into the memory of the GPU.
    """
    found: dict[str, dict[str, Answers]] = {each.name: {} for each in asked}
    for role, model in contenders.loaded(by_role, args.load_in_4bit):
        for each in asked:
            print(f"{by_role[role]['label']} model, {each.name}: {len(each.pairs)} prompts")
            refuse_long_prompts(args, by_role[role]["label"], model, each.new_tokens)
            if role == contenders.FEW_SHOT and training:
                answers = ask_with_examples(args, model, each, encoders[role], training)
            else:
                answers = ask(args, model, each, encoders[role])
            noted = note_training(answers.items, training)
            found[each.name][role] = dataclasses.replace(answers, items=noted)
    return {name: {role: answers[role] for role in by_role} for name, answers in found.items()}


def ask(args: argparse.Namespace, model: Any, asked: Questions, encoder: Encoder) -> Answers:
    """Return what one model answers.

    Raises:
        UserError: a batch does not fit into the memory of the GPU.
    """
    try:
        stop = asked.stop or stopping.of_tasks(pair.task for pair in asked.pairs)
        return predict(
            model, encoder, asked.pairs, asked.new_tokens, args.tokens_per_batch, stop, with_cache=not args.no_cache
        )
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {args.tokens_per_batch} tokens does not fit into the GPU; halve --tokens_per_batch."
        ) from None


def ask_with_examples(
    args: argparse.Namespace, model: Any, asked: Questions, encoder: Encoder, training: TrainingData
) -> Answers:
    """Return what a model answers with examples before its prompts, as predictions for the prompts without them."""
    room = min(models.context_of(model) - asked.new_tokens, args.max_prompt_tokens * (args.few_shot + 1))
    longer = questions.with_examples(asked, training.examples(args.few_shot, args.seed))
    found = ask(args, model, longer, encoding.Encoder(encoder.tokenizer, room, encoder.prompt_only))
    pairs = zip(found.items, asked.pairs, strict=True)
    return dataclasses.replace(found, items=[dataclasses.replace(item, prompt=pair.prompt) for item, pair in pairs])


def refuse_long_prompts(args: argparse.Namespace, label: str, model: Any, new_tokens: int) -> None:
    """Raise UserError before anything is asked if the prompts of a benchmark do not fit into a model."""
    context = models.context_of(model)
    if args.max_prompt_tokens + new_tokens > context:
        raise UserError(
            f"the {label} model reads {context} tokens, fewer than a prompt of {args.max_prompt_tokens} and "
            f"{new_tokens} new ones; set --max_prompt_tokens to at most {context - new_tokens}."
        )


def predict(
    model: Any,
    encoder: Encoder,
    pairs: Sequence[Pair],
    limit: int,
    tokens_per_batch: int,
    stop: str = "end",
    with_cache: bool = True,
) -> Answers:
    """Return a prediction per pair, with the nats of its reference. A prediction never holds any of the prompt.

    `stop` is a rule of codefit.stopping. With the cache, what this model was asked before is not asked again.
    """
    cache = prediction_cache.PredictionCache(models.fingerprint(model)) if with_cache else None
    prompts = [sample.ids[: sample.start].tolist() for sample in encoder.samples(pairs)]
    ways: dict[str, Any] = {
        "max_new_tokens": limit,
        "eos_ids": encoder.eos_ids,
        "pad_id": encoder.pad_id,
        "stop": stopping.rule(stop, encoder),
        "cache": cache,
    }
    completions = generation.generate(model, prompts, tokens_per_batch=tokens_per_batch, do_progress=True, **ways)
    differ, again = generation.flips(model, prompts, completions, **ways)
    print(f"in other batches {differ} of {again} completions are different")
    measured = likelihood.completion_nats(model, encoder, pairs, tokens_per_batch, cache, do_progress=True)
    if cache and cache.found:
        print(f"{cache.found} of {cache.asked} batches were asked before and are taken from {cache.place}")
    items = [
        Prediction(
            id=pair.id,
            prompt=pair.prompt,
            prediction=stopping.text_until(stop, encoder.decode(completion.ids)),
            reference=pair.completion,
            finish_reason=completion.finish_reason,
            scores={"nats": nats, "tokens": tokens},
            path=pair.path,
            suffix=pair.suffix,
            reference_finish_reason=pair.finish_reason,
            task=pair.task,
            language=pair.language,
        )
        for pair, completion, (nats, tokens) in zip(pairs, completions, measured, strict=True)
    ]
    quantised = getattr(model, "is_loaded_in_4bit", False)
    decoding = {
        "decode": "greedy",
        "stop": stop,
        "new": str(limit),
        "prompt": str(encoder.max_prompt_tokens),
        "by": f"transformers {importlib.metadata.version('transformers')}",
        "dtype": "nf4" if quantised else str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "flips": f"{differ}/{again}",
    }
    return Answers(items, decoding)


def note_training(items: list[Prediction], training: TrainingData | None) -> list[Prediction]:
    """Return the predictions with what is known of the training data: is the pair in them, are the names in them."""
    if training is None:
        return items
    found = []
    for item in items:
        new = len(slices.names(item.prompt, item.reference) - training.identifiers)
        held = training.holds(item.prompt, item.reference)
        noted = {suspicion.IN_TRAINING: float(held), slices.NOT_IN_TRAINING: float(new)}
        found.append(dataclasses.replace(item, scores={**item.scores, **noted}))
    return found
