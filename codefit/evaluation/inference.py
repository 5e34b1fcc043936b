"""Generating the predictions of a benchmark's models, greedy or sampled, and the likelihood of the references."""

import dataclasses
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from codefit import console
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation import leak_signs, prompt_groups, questions, repository_files, repository_names
from codefit.evaluation.chat_prompt import ChatEncoder
from codefit.evaluation.comparison import ENTROPY
from codefit.evaluation.contenders import BASE, Contenders, loaded
from codefit.evaluation.questions import Questions
from codefit.evaluation.repository_names import RepositoryNames
from codefit.evaluation.result_schema import CELLS, Cost, GenerationSettings, Model, Role
from codefit.evaluation.settings import InferenceSettings
from codefit.evaluation.training_lookup import TrainingData
from codefit.generation import batch_check, batched, likelihood, prediction_cache, stopping, vllm_backend
from codefit.generation.batched import Completion
from codefit.generation.decoding import Decoding
from codefit.generation.nucleus import Nucleus
from codefit.generation.prediction_cache import PredictionCache
from codefit.modeling import loading
from codefit.modeling.fingerprint import fingerprint
from codefit.records import Pair, Prediction

COSTED = 4  # prompts whose processor time is measured; one takes several times as long as in a batch

TRANSFORMERS = f"transformers {importlib.metadata.version('transformers')}"


@dataclasses.dataclass(frozen=True, slots=True)
class ModelPredictions:
    """The predictions of one model for one benchmark, the settings that can change them, and what they cost."""

    items: list[Prediction]
    settings: GenerationSettings
    cost: Cost | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Generated:
    """The completions of one model for one benchmark.

    Attributes:
        completions: one per prompt.
        changed: how many completions of the batch check changed when decoded in other batches.
        again: the sample size of the batch check.
        by: the library that generated them, with its version.
        dtype: dtype of the computation.
    """

    completions: list[Completion]
    changed: int
    again: int
    by: str
    dtype: str


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """One benchmark as it is given to one model: pairs, the encoder of the prompts, and how completions are decoded."""

    pairs: Sequence[Pair]
    encoder: Encoder
    max_new_tokens: int
    stop: str
    nucleus: Nucleus | None = None

    @property
    def prompts(self) -> list[list[int]]:
        """The token ids of each prompt."""
        return [sample.ids[: sample.start].tolist() for sample in self.encoder.samples(self.pairs)]

    @property
    def references(self) -> list[list[int]]:
        """The token ids of each reference, without end-of-sequence."""
        return self.encoder.ids([pair.completion for pair in self.pairs])


def of_models(
    contenders: Contenders,
    asked: Sequence[Questions],
    encoders: Mapping[str, Encoder],
    training: TrainingData | None,
    with_files: Mapping[str, Sequence[Pair]],
) -> dict[str, dict[str, ModelPredictions]]:
    """Return the predictions of every model, by benchmark and model.

    Args:
        contenders: the models.
        asked: the benchmarks.
        encoders: of the prompts of each model.
        training: the training data, where they are known.
        with_files: the pairs of a benchmark with retrieved files; benchmarks without them are asked without files.

    Raises:
        UserError: a prompt is too long for a model, or a batch does not fit into the memory of the GPU.
    """
    found: dict[str, dict[str, ModelPredictions]] = {each.name: {} for each in asked}
    how = contenders.inference
    generated = by_vllm(contenders, asked, encoders, training) if how.backend == "vllm" else {}
    names = {each.name: names_for(each) for each in asked}
    for key, model in loaded(contenders.models, how.load_in_4bit):
        facts, context = contenders.models[key], loading.context_of(model)
        for each in asked:
            console.show(f"{facts.label} model, {each.name}: {console.counted(len(each.pairs), 'prompt')}")
            shown = as_shown(how, facts, each, encoders[key], context, training)
            if facts.role is Role.CONTEXT:
                shown = dataclasses.replace(shown, pairs=with_files.get(each.name, each.pairs))
            answers = ask(how, model, shown, generated.get((key, each.name)))
            if key in CELLS and each.name in with_files:
                answers = dataclasses.replace(answers, cost=cost(model, shown, answers.items))
            pairs = zip(answers.items, each.pairs, strict=True)
            items = [dataclasses.replace(item, prompt=pair.prompt) for item, pair in pairs]  # without the examples
            items = repository_names.noted(note_training(items, training), names[each.name])
            found[each.name][key] = dataclasses.replace(answers, items=items)
    return {name: {key: answers[key] for key in contenders.models} for name, answers in found.items()}


def names_for(asked: Questions) -> RepositoryNames | None:
    """Return the names of the repositories of a benchmark; None where their files are not known."""
    if asked.documents is None:
        return None
    return RepositoryNames(repository_files.opened(asked.documents, {pair.repository for pair in asked.pairs}))


def by_vllm(
    contenders: Contenders, asked: Sequence[Questions], encoders: Mapping[str, Encoder], training: TrainingData | None
) -> dict[tuple[str, str], Generated]:
    """Return the completions of every model, by model and benchmark; one base or merged model is loaded at a time."""
    models = contenders.models
    adapters = {key: str(model.folder) for key, model in models.items() if model.kind == "adapter"}
    base = (models[BASE].name, models[BASE].revision)
    wholes: dict[tuple[str, str | None], list[str]] = {}
    for key, model in models.items():
        wholes.setdefault((model.name, None) if model.kind == "merged" else base, []).append(key)
    found = {}
    for (name, revision), keys in wholes.items():
        outline = loading.load_model(name, revision=revision, place=torch.device("meta"))
        context = loading.context_of(outline)
        backend = vllm_backend.VllmBackend(name, revision, [adapters[key] for key in keys if key in adapters])
        for key in keys:
            for each in asked:
                console.show(
                    f"{models[key].label} model with vLLM, {each.name}: {console.counted(len(each.pairs), 'prompt')}"
                )
                shown = as_shown(contenders.inference, models[key], each, encoders[key], context, training)
                found[key, each.name] = generate_by_vllm(backend, shown, adapters.get(key))
        backend.close()
    return found


def as_shown(
    how: InferenceSettings,
    model: Model,
    asked: Questions,
    encoder: Encoder,
    context: int,
    training: TrainingData | None,
) -> Asked:
    """Return a benchmark as it is given to one model; the few-shot base gets examples before its prompts.

    Raises:
        UserError: the context window of the model, `context` tokens, is too short for such prompts.
    """
    overhead = encoder.overhead if isinstance(encoder, ChatEncoder) else 0
    room, most = how.max_prompt_tokens, context - asked.new_tokens - overhead
    if model.role is Role.CONTEXT and room + how.repository_context > most:
        raise UserError(
            f"the {model.label} model has a context window of {context} tokens, too short for {how.repository_context} "
            f"tokens of files, a prompt of {room} and {asked.new_tokens} new tokens; set --repository_context to at "
            f"most {max(most - room, 0)}, or lower --max_prompt_tokens."
        )
    if room > most:
        raise UserError(
            f"the {model.label} model has a context window of {context} tokens, too short for a prompt of "
            f"{room + overhead} and {asked.new_tokens} new tokens; set --max_prompt_tokens to at most {most}."
        )
    pairs = asked.pairs
    if model.role is Role.FEW_SHOT and training is not None:
        room = min(context - asked.new_tokens, room * (how.few_shot + 1))
        pairs = questions.with_examples(asked, training.examples(how.few_shot, how.seed)).pairs
        encoder = Encoder(encoder.tokenizer, room, encoder.prompt_only, encoder.eos_ids)
    stop = asked.stop or stopping.of_tasks(pair.task for pair in pairs)
    return Asked(pairs, encoder, asked.new_tokens, stop, nucleus_of(how.decoding))


def ask(how: InferenceSettings, model: Any, asked: Asked, generated: Generated | None = None) -> ModelPredictions:
    """Return the predictions of one model, using completions that are `generated` already.

    Raises:
        UserError: a batch does not fit into the memory of the GPU.
    """
    try:
        return predict(model, asked, how.tokens_per_batch, how.with_cache, generated)
    except torch.OutOfMemoryError:
        raise UserError(
            f"a batch of {how.tokens_per_batch} tokens does not fit into GPU memory; halve --tokens_per_batch."
        ) from None


def nucleus_of(decoding: Decoding) -> Nucleus | None:
    """Return how tokens are sampled, or None where decoding is greedy."""
    if not decoding.samples:
        return None
    return Nucleus(decoding.temperature or 1.0, decoding.top_p or 1.0, decoding.seed)


def predict(
    model: Any, asked: Asked, tokens_per_batch: int, with_cache: bool = True, generated: Generated | None = None
) -> ModelPredictions:
    """Return a prediction per pair, with the nats of its reference. A prediction does not include the prompt.

    Batches in the cache are not computed again. Completions that another backend has `generated` are used unchanged;
    the nats are always those of this model.

    Raises:
        UserError: a prompt with its completion is longer than the context window of the model.
    """
    place = prediction_cache.folder() if with_cache else None
    cache = PredictionCache(fingerprint(model), place) if place else None
    generated = generated or generate(model, asked, tokens_per_batch, cache)
    console.show(
        f"batch check: {generated.changed} of {generated.again} completions changed when decoded in a different batch "
        "(rounding)"
    )
    encoder = asked.encoder
    measured = nats_of_references(model, asked, generated, tokens_per_batch, cache)
    if cache and cache.hits:
        console.show(f"{cache.hits} of {cache.requests} batches are taken from the cache in {cache.place}")
    items = [
        Prediction(
            id=pair.id,
            prompt=pair.prompt,
            prediction=stopping.text_until(asked.stop, encoder.decode(completion.ids)),
            reference=pair.completion,
            finish_reason=completion.finish_reason,
            scores={"nats": nats, "tokens": tokens} | _entropy(completion),
            path=pair.path,
            suffix=pair.suffix,
            reference_finish_reason=pair.finish_reason,
            task=pair.task,
            language=pair.language,
            repository=pair.repository,
            commit=pair.commit,
            place=pair.place,
        )
        for pair, completion, (nats, tokens) in zip(asked.pairs, generated.completions, measured, strict=True)
    ]
    settings = GenerationSettings(
        decode=asked.nucleus.name if asked.nucleus else "greedy",
        stop=asked.stop,
        new=str(asked.max_new_tokens),
        prompt=str(encoder.max_prompt_tokens),
        by=generated.by,
        dtype=generated.dtype,
        device=model.device.type,
        flips=f"{generated.changed}/{generated.again}",
    )
    return ModelPredictions(items, settings)


def refuse_what_does_not_fit(prompts: Sequence[list[int]], new_tokens: int, context: int) -> None:
    """Raise UserError if a prompt and its new tokens are longer than a context window of so many tokens."""
    longest = max(map(len, prompts), default=0)
    if longest + new_tokens > context:
        raise UserError(
            f"a prompt of {longest} tokens and {new_tokens} new ones are longer than the context window of "
            f"the model, {context} tokens; lower --max_new_tokens or --max_prompt_tokens."
        )


def cost(model: Any, asked: Asked, items: Sequence[Prediction]) -> Cost:
    """Return what a completion costs: tokens over all prompts, processor time for COSTED prompts asked one by one."""
    prompts, encoder = asked.prompts, asked.encoder
    written = encoder.ids([item.prediction for item in items])
    timed = [prompts[len(prompts) * n // COSTED] for n in range(min(COSTED, len(prompts)))]
    started = time.process_time()
    for prompt in timed:
        batched.generate(
            model,
            [prompt],
            max_new_tokens=asked.max_new_tokens,
            eos_ids=encoder.eos_ids,
            pad_id=encoder.pad_id,
            stop=stopping.rule(asked.stop, encoder),
            nucleus=asked.nucleus,
        )
    seconds = (time.process_time() - started) / len(timed)
    lengths = (sum(map(len, ids)) / len(items) for ids in (prompts, written))
    return Cost(round(seconds, 3), *lengths)


def _entropy(completion: Completion) -> dict[str, float]:
    """Return the entropy after the prompt under the name that comparison.py reads; {} where it was not computed."""
    return {} if completion.entropy is None else {ENTROPY: completion.entropy}


def nats_of_references(
    model: Any, asked: Asked, generated: Generated, tokens_per_batch: int, cache: PredictionCache | None
) -> list[tuple[float, int]]:
    """Return (nats, tokens) of each reference; what generation did not compute is computed now."""
    done = [completion.nats for completion in generated.completions]
    rest = [pair for pair, nats in zip(asked.pairs, done, strict=True) if nats is None]
    later = iter(likelihood.completion_nats(model, asked.encoder, rest, tokens_per_batch, cache, bool(rest)))
    lengths = map(len, asked.references)
    return [next(later) if nats is None else (nats, length) for nats, length in zip(done, lengths, strict=True)]


def generate(model: Any, asked: Asked, tokens_per_batch: int, cache: PredictionCache | None) -> Generated:
    """Return the completions of a loaded model.

    Raises:
        UserError: a prompt with its completion is longer than the context window of the model.
    """
    encoder, prompts = asked.encoder, asked.prompts
    refuse_what_does_not_fit(prompts, asked.max_new_tokens, loading.context_of(model))
    ways: dict[str, Any] = {
        "eos_ids": encoder.eos_ids,
        "pad_id": encoder.pad_id,
        "stop": stopping.rule(asked.stop, encoder),
        "nucleus": asked.nucleus,
        "cache": cache,
    }
    lengths: dict[str, Any] = {"max_new_tokens": asked.max_new_tokens, "tokens_per_batch": tokens_per_batch}
    completions = batched.generate(model, prompts, references=asked.references, do_progress=True, **lengths, **ways)
    dtype = "nf4" if getattr(model, "is_loaded_in_4bit", False) else str(model.dtype).removeprefix("torch.")
    return Generated(completions, *batch_check.flips(model, prompts, completions, **ways), TRANSFORMERS, dtype)


def generate_by_vllm(backend: vllm_backend.VllmBackend, asked: Asked, adapter: str | None) -> Generated:
    """Return the completions of a model in vLLM."""
    prompts = asked.prompts
    ways: dict[str, Any] = {
        "max_new_tokens": asked.max_new_tokens,
        "eos_ids": asked.encoder.eos_ids,
        "stop": stopping.rule(asked.stop, asked.encoder),
        "adapter": adapter,
    }
    completions = backend.complete(prompts, do_progress=True, **ways)
    by = f"{backend.version}, likelihood by {TRANSFORMERS}"
    return Generated(completions, *backend.flips(prompts, completions, **ways), by, backend.dtype)


def note_training(items: list[Prediction], training: TrainingData | None) -> list[Prediction]:
    """Return the predictions, with notes whether the training data contain the pair and the reference's names."""
    if training is None:
        return items
    found = []
    for item in items:
        new = len(prompt_groups.names(item.prompt, item.reference) - training.identifiers)
        held = training.holds(item.prompt, item.reference, item.suffix)
        noted = {leak_signs.IN_TRAINING: float(held), prompt_groups.NOT_IN_TRAINING: float(new)}
        found.append(dataclasses.replace(item, scores={**item.scores, **noted}))
    return found
