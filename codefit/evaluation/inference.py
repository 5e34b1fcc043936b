"""What the models of a benchmark answer, greedily or drawn, and how likely each finds the references."""

import argparse
import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import torch

from codefit import console
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import contenders, leak_signs, prompt_groups, questions
from codefit.evaluation.questions import Questions
from codefit.evaluation.training_lookup import TrainingData
from codefit.generation import batched, likelihood, prediction_cache, stopping, vllm_backend
from codefit.generation.batched import Completion
from codefit.generation.nucleus import Nucleus
from codefit.modeling import loading
from codefit.modeling.fingerprint import fingerprint
from codefit.records import Pair, Prediction

TRANSFORMERS = f"transformers {importlib.metadata.version('transformers')}"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelAnswers:
    """What one model answered to one benchmark, and how it was asked.

    `decoding` holds by name what can move the answers beside model and prompts; `flips` are the completions that were
    others in other batches, of those that were asked again. It is part of the signature of every score.
    """

    items: list[Prediction]
    decoding: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """The completions of one model, of those that were asked again in other batches how many differ, and by whom."""

    completions: list[Completion]
    differ: int
    again: int
    by: str
    dtype: str


def of_models(
    args: argparse.Namespace,
    by_role: dict[str, Any],
    asked: Sequence[Questions],
    encoders: dict[str, Encoder],
    training: TrainingData | None,
) -> dict[str, dict[str, ModelAnswers]]:
    """Return what every model answers, by benchmark and role.

    Raises:
        UserError: a prompt is too long for a model, or a batch does not fit into the memory of the GPU.
    """
    found: dict[str, dict[str, ModelAnswers]] = {each.name: {} for each in asked}
    written = by_vllm(args, by_role, asked, encoders, training) if args.backend == "vllm" else {}
    for role, model in contenders.loaded(by_role, args.load_in_4bit):
        label, context = by_role[role]["label"], loading.context_of(model)
        for each in asked:
            console.show(f"{label} model, {each.name}: {len(each.pairs)} prompts")
            shown, encoder = as_shown(args, role, label, each, encoders[role], context, training)
            answers = ask(args, model, shown, encoder, written.get((role, each.name)))
            pairs = zip(answers.items, each.pairs, strict=True)
            items = [dataclasses.replace(item, prompt=pair.prompt) for item, pair in pairs]  # without the examples
            found[each.name][role] = dataclasses.replace(answers, items=note_training(items, training))
    return {name: {role: answers[role] for role in by_role} for name, answers in found.items()}


def by_vllm(
    args: argparse.Namespace,
    by_role: dict[str, Any],
    asked: Sequence[Questions],
    encoders: dict[str, Encoder],
    training: TrainingData | None,
) -> dict[tuple[str, str], Written]:
    """Return the completions of every model by role and benchmark, one model in memory at a time."""
    adapters = {role: facts["folder"] for role, facts in by_role.items() if facts.get("kind") == "adapter"}
    base = (by_role["base"]["name"], by_role["base"]["revision"])
    wholes: dict[tuple[str, str | None], list[str]] = {}
    for role, facts in by_role.items():
        wholes.setdefault((facts["name"], None) if facts.get("kind") == "merged" else base, []).append(role)
    found = {}
    for (name, revision), roles in wholes.items():
        outline = loading.load_model(name, revision=revision, place=torch.device("meta"))
        engine = vllm_backend.VllmBackend(name, revision, [adapters[role] for role in roles if role in adapters])
        for role in roles:
            for each in asked:
                label, context = by_role[role]["label"], loading.context_of(outline)
                console.show(f"{label} model by vLLM, {each.name}: {len(each.pairs)} prompts")
                shown, encoder = as_shown(args, role, label, each, encoders[role], context, training)
                found[role, each.name] = write_by_vllm(engine, encoder, shown, adapters.get(role))
        engine.close()
    return found


def as_shown(
    args: argparse.Namespace,
    role: str,
    label: str,
    asked: Questions,
    encoder: Encoder,
    context: int,
    training: TrainingData | None,
) -> tuple[Questions, Encoder]:
    """Return a benchmark as one model sees it, with examples before its prompts where it is the few-shot base.

    Raises:
        UserError: the model cannot read prompts of that length.
    """
    room = args.max_prompt_tokens
    if room + asked.new_tokens > context:
        raise UserError(
            f"the {label} model reads {context} tokens, fewer than a prompt of {room} and "
            f"{asked.new_tokens} new ones; set --max_prompt_tokens to at most {context - asked.new_tokens}."
        )
    if role != contenders.FEW_SHOT or training is None:
        return asked, encoder
    room = min(context - asked.new_tokens, room * (args.few_shot + 1))
    longer = questions.with_examples(asked, training.examples(args.few_shot, args.seed))
    return longer, Encoder(encoder.tokenizer, room, encoder.prompt_only, encoder.eos_ids)


def ask(
    args: argparse.Namespace, model: Any, asked: Questions, encoder: Encoder, written: Written | None = None
) -> ModelAnswers:
    """Return what one model answers, or has written already.

    Raises:
        UserError: a batch does not fit into the memory of the GPU.
    """
    try:
        ways: dict[str, Any] = {"stop": _stop(asked), "nucleus": nucleus_of(args), "with_cache": not args.no_cache}
        return predict(model, encoder, asked.pairs, asked.new_tokens, args.tokens_per_batch, written=written, **ways)
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {args.tokens_per_batch} tokens does not fit into the GPU; halve --tokens_per_batch."
        ) from None


def nucleus_of(args: argparse.Namespace) -> Nucleus | None:
    """Return how tokens are drawn, or None where completions are greedy."""
    if args.temperature is None and args.top_p is None:
        return None
    return Nucleus(args.temperature or 1.0, args.top_p or 1.0, args.generation_seed)


def predict(
    model: Any,
    encoder: Encoder,
    pairs: Sequence[Pair],
    limit: int,
    tokens_per_batch: int,
    stop: str = "end",
    nucleus: Nucleus | None = None,
    with_cache: bool = True,
    written: Written | None = None,
) -> ModelAnswers:
    """Return a prediction per pair, with the nats of its reference. A prediction never holds any of the prompt.

    `stop` is a rule of codefit.stopping. With the cache, what this model was asked before is not asked again. What was
    `written` by another engine already is taken as it is; the nats are always those of this model.
    """
    place = prediction_cache.folder() if with_cache else None
    cache = prediction_cache.PredictionCache(fingerprint(model), place) if place else None
    written = written or write(model, encoder, pairs, limit, tokens_per_batch, stop, nucleus, cache)
    console.show(f"in other batches {written.differ} of {written.again} completions are different")
    measured = likelihood.completion_nats(model, encoder, pairs, tokens_per_batch, cache, do_progress=True)
    if cache and cache.found:
        console.show(f"{cache.found} of {cache.asked} batches were asked before and are taken from {cache.place}")
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
        for pair, completion, (nats, tokens) in zip(pairs, written.completions, measured, strict=True)
    ]
    decoding = {
        "decode": nucleus.name if nucleus else "greedy",
        "stop": stop,
        "new": str(limit),
        "prompt": str(encoder.max_prompt_tokens),
        "by": written.by,
        "dtype": written.dtype,
        "device": model.device.type,
        "flips": f"{written.differ}/{written.again}",
    }
    return ModelAnswers(items, decoding)


def write(
    model: Any,
    encoder: Encoder,
    pairs: Sequence[Pair],
    limit: int,
    tokens_per_batch: int,
    stop: str,
    nucleus: Nucleus | None,
    cache: prediction_cache.PredictionCache | None,
) -> Written:
    """Return the completions of a loaded model."""
    prompts = _prompts(encoder, pairs)
    ways: dict[str, Any] = {
        "max_new_tokens": limit,
        "eos_ids": encoder.eos_ids,
        "pad_id": encoder.pad_id,
        "stop": stopping.rule(stop, encoder),
        "nucleus": nucleus,
        "cache": cache,
    }
    completions = batched.generate(model, prompts, tokens_per_batch=tokens_per_batch, do_progress=True, **ways)
    dtype = "nf4" if getattr(model, "is_loaded_in_4bit", False) else str(model.dtype).removeprefix("torch.")
    return Written(completions, *batched.flips(model, prompts, completions, **ways), TRANSFORMERS, dtype)


def write_by_vllm(engine: vllm_backend.VllmBackend, encoder: Encoder, asked: Questions, adapter: str | None) -> Written:
    """Return the completions of a model in vLLM."""
    prompts = _prompts(encoder, asked.pairs)
    stop = stopping.rule(_stop(asked), encoder)
    ways: dict[str, Any] = {
        "max_new_tokens": asked.new_tokens,
        "eos_ids": encoder.eos_ids,
        "stop": stop,
        "adapter": adapter,
    }
    completions = engine.complete(prompts, do_progress=True, **ways)
    by = f"{engine.version}, likelihood by {TRANSFORMERS}"
    return Written(completions, *engine.flips(prompts, completions, **ways), by, engine.dtype)


def _stop(asked: Questions) -> str:
    """Return the rule that ends the answers: the benchmark's own, or that of its tasks."""
    return asked.stop or stopping.of_tasks(pair.task for pair in asked.pairs)


def _prompts(encoder: Encoder, pairs: Sequence[Pair]) -> list[list[int]]:
    return [sample.ids[: sample.start].tolist() for sample in encoder.samples(pairs)]


def note_training(items: list[Prediction], training: TrainingData | None) -> list[Prediction]:
    """Return the predictions with what is known of the training data: is the pair in them, are the names in them."""
    if training is None:
        return items
    found = []
    for item in items:
        new = len(prompt_groups.names(item.prompt, item.reference) - training.identifiers)
        held = training.holds(item.prompt, item.reference)
        noted = {leak_signs.IN_TRAINING: float(held), prompt_groups.NOT_IN_TRAINING: float(new)}
        found.append(dataclasses.replace(item, scores={**item.scores, **noted}))
    return found
