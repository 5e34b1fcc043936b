"""The models of a benchmark: their metadata, and loading them one at a time.

Models are stored under the keys of result_schema.py. An adapter is attached to the base that is already loaded.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from codefit import console, fim
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation.chat_prompt import ChatEncoder
from codefit.evaluation.result_schema import WITH_CONTEXT, Model, Role
from codefit.evaluation.settings import BenchmarkSettings, InferenceSettings, QuestionSettings
from codefit.generation import batched
from codefit.modeling import hub_files, loading, merging
from codefit.records import MAX_PROMPT_TOKENS, PREPARED

BASE, FEW_SHOT, CHAT = "base", "few-shot", "chat"


@dataclasses.dataclass(frozen=True, slots=True)
class Contenders:
    """The models of a benchmark, with the settings of prompts and inference that were decided from their metadata."""

    models: dict[str, Model]
    questions: QuestionSettings
    inference: InferenceSettings


@dataclasses.dataclass(frozen=True, slots=True)
class _Adapted:
    """Metadata of an adapted model: `made` is the manifest of the stage that wrote it."""

    name: str
    kind: str
    folder: str
    base: str | None
    revision: str | None
    made: dict[str, Any]

    def as_model(self, label: str) -> Model:
        loss = (self.made.get("validation") or {}).get("eval_loss")
        about = {"name": self.name, "kind": self.kind, "folder": self.folder, "validation_loss": loss}
        return msgspec.convert({**about, "label": label, "role": Role.ADAPTED}, Model)


def resolve(asked: BenchmarkSettings) -> Contenders:
    """Return the models, and the settings; those left open are taken from the first adapted model's metadata.

    Raises:
        UserError: a model cannot be found, its base is not known, or two models have different bases.
    """
    found = [_describe(name, asked.base) for name in asked.adapted]
    base, revision = _base(asked, found)
    models = {BASE: Model(name=base, label="base", role=Role.BASE, revision=revision)}
    for number, (adapted, label) in enumerate(zip(found, _labels(found), strict=True), 1):
        models["adapted" if number == 1 else f"adapted-{number}"] = adapted.as_model(label)
    if asked.few_shot:
        label = f"{asked.few_shot}-shot base"
        models[FEW_SHOT] = Model(name=base, label=label, role=Role.FEW_SHOT, revision=revision)
    if asked.chat_base:
        models[CHAT] = Model(name=base, label="base in chat", role=Role.CHAT, revision=revision)
    if asked.repository_context:
        for key, context in WITH_CONTEXT.items():
            label = f"{models[key].label} + files"
            models[context] = Model(name=models[key].name, label=label, role=Role.CONTEXT)
    first = found[0]
    questions = QuestionSettings(
        benchmarks=asked.benchmarks,
        dataset=asked.dataset or first.made.get("dataset") or PREPARED,
        split=asked.split,
        forgetting=asked.forgetting or _replayed(first.made.get("replay")),
        sample=asked.sample,
        seed=asked.seed,
        max_new_tokens=asked.max_new_tokens,
        execute=asked.execute,
        trained_on=tuple(name for each in found for key in ("dataset", "replay") if (name := each.made.get(key))),
    )
    in_4bit = asked.load_in_4bit
    if in_4bit is None:
        in_4bit = first.kind == "adapter" and bool(first.made.get("load_in_4bit"))
    inference = InferenceSettings(
        max_prompt_tokens=asked.max_prompt_tokens or first.made.get("max_prompt_tokens") or MAX_PROMPT_TOKENS,
        tokens_per_batch=asked.tokens_per_batch or _tokens_that_fit(base, revision),
        decoding=asked.decoding,
        load_in_4bit=in_4bit,
        backend=asked.backend,
        with_cache=asked.with_cache,
        few_shot=asked.few_shot,
        seed=asked.seed,
        system_prompt=asked.system_prompt,
        repository_context=asked.repository_context,
    )
    return Contenders(models, questions, inference)


def _base(asked: BenchmarkSettings, found: Sequence[_Adapted]) -> tuple[str, str | None]:
    """Return name and revision of the base that all models share."""
    bases = {(adapted.base, adapted.revision) for adapted in found if adapted.base}
    names = {asked.base} if asked.base else {base for base, _ in bases if base}
    if not names:
        raise UserError(f"{asked.adapted[0]} does not name its base model; give it with --model_name_or_path.")
    if len(names) > 1:
        raise UserError(
            f"these models have different bases ({', '.join(sorted(names))}); benchmark them one by one, "
            "and compare the runs with --compare."
        )
    base = names.pop()
    return base, next((revision for name, revision in bases if name == base and revision), None)


def _tokens_that_fit(base: str, revision: str | None) -> int:
    outline = loading.load_model(base, revision=revision, place=torch.device("meta"))
    return batched.tokens_that_fit(outline)


def _replayed(replay: str | None) -> str | None:
    """Return the replay data set of the training where its held-out pairs exist, else None with a note."""
    if not replay or (Path(replay) / "test.jsonl").is_file():
        return replay
    console.show(f"note: {replay}, replayed in training, has no test.jsonl, so forgetting is not checked")
    return None


def _describe(name: str, given: str | None) -> _Adapted:
    """Return the metadata of an adapted model, a folder or Hub id; `given` is the base named in the command."""
    is_adapter = hub_files.is_adapter(name)
    folder = hub_files.adapter_folder(name) if is_adapter else Path(name)
    made = hub_files.manifest_of(name)
    base, revision = (
        hub_files.base_of(str(folder), given) if is_adapter else (made.get("base_model"), made.get("base_revision"))
    )
    return _Adapted(name, "adapter" if is_adapter else "merged", str(folder), base, revision, made)


def _labels(found: Sequence[_Adapted]) -> list[str]:
    """Return the labels of the models in tables: their kinds where those differ, else the parts of their names that
    differ."""
    if len(found) == 1:
        return ["adapted"]
    for labels in ([model.kind for model in found], [Path(model.name).name for model in found]):
        if len(set(labels)) == len(labels):
            return labels
    columns = list(zip(*(Path(model.name).parts for model in found), strict=False))
    labels = ["/".join(parts) for parts in zip(*(column for column in columns if len(set(column)) > 1), strict=True)]
    if len(set(labels)) == len(found):  # one/adapter and two/adapter become one and two
        return labels
    return [model.name for model in found]


def encoders(
    models: Mapping[str, Model], max_prompt_tokens: int, system_prompt: str = "", repository_context: int = 0
) -> tuple[dict[str, Encoder], dict[str, Model]]:
    """Return the encoder of each model's prompts, and the models with their final labels.

    Prompts are made with the base's tokenizer, or with a model's own where it learned sentinels. In a benchmark with
    such a model the other models get no suffix, and their labels say "(prompt only)".

    Raises:
        UserError: a merged model has a different vocabulary than the base, or a base without a chat template is to be
            asked in chat.
    """
    base = models[BASE]
    place = (base.name, base.revision)
    tokenizer = loading.load_tokenizer(*place)
    if CHAT in models and not getattr(tokenizer, "chat_template", None):
        raise UserError(
            f"{base.name} has no chat template and cannot be asked in chat; omit --chat_base, or choose a chat model."
        )
    learned = {key: own for key, model in models.items() if (own := _own_tokenizer(model, tokenizer, base.name))}
    if rows := hub_files.vocabulary_rows(*place):
        loading.fit_tokens(tokenizer, rows, base.name)
    ends = loading.end_ids(tokenizer, place, *((model.folder, None) for model in models.values() if model.folder))
    prompt_only = {key: bool(learned) and key not in learned for key in models}
    for key, context in WITH_CONTEXT.items():
        prompt_only[context] = prompt_only.get(key, False)
    named = {
        key: msgspec.structs.replace(model, label=f"{model.label} (prompt only)") if prompt_only[key] else model
        for key, model in models.items()
    }
    made = {key: Encoder(learned.get(key, tokenizer), max_prompt_tokens, prompt_only[key], ends) for key in models}
    for key, context in WITH_CONTEXT.items():
        if context in models:
            room = max_prompt_tokens + repository_context
            made[context] = Encoder(learned.get(key, tokenizer), room, prompt_only[key], ends)
    if CHAT in models:
        made[CHAT] = ChatEncoder(tokenizer, max_prompt_tokens, prompt_only[CHAT], ends, system_prompt)
    return made, named


def _own_tokenizer(model: Model, tokenizer: Any, base: str) -> Any:
    """Return the tokenizer of a model that learned sentinels; None for any other."""
    if model.kind == "adapter":
        brings = hub_files.rows_of(model.folder) and hub_files.has_tokenizer(model.folder)
        return loading.load_tokenizer(model.folder) if brings else None
    if model.kind != "merged":
        return None
    own = loading.load_tokenizer(model.name)
    wanted, has = tokenizer.get_vocab(), own.get_vocab()
    if has == wanted:
        return None
    if {token: number for token, number in has.items() if token not in fim.BASE.sentinels} != wanted:
        raise UserError(
            f"{model.name} has a different vocabulary than {base}, so it was not made from it; "
            "name its real base with --model_name_or_path."
        )
    return own


def loaded(models: Mapping[str, Model], load_in_4bit: bool) -> Iterator[tuple[str, Any]]:
    """Yield (key, model) of every model, the base first; the previous model must not be used any more.

    In float32 an adapter is merged: data/base with an adapter of rank 32 then generates 1.3 times as fast, and none of
    500 completions changed. With fewer bits a merge would round, so the adapter stays attached to its base.
    """
    base = models[BASE]
    load_base = functools.partial(loading.load_model, base.name, revision=base.revision, load_in_4bit=load_in_4bit)
    model = load_base()
    for key in (BASE, WITH_CONTEXT[BASE], FEW_SHOT, CHAT):
        if key in models:
            yield key, model
    for key, facts in models.items():
        if facts.kind == "adapter":
            model = load_base() if model is None else model
            rows = len(model.get_input_embeddings().weight)
            attached = loading.attach_adapter(model, facts.folder)
            if attached.dtype == torch.float32 and not load_in_4bit and loading.can_be_merged(attached):
                model = merging.merge_in_memory(attached)  # the base's weights become those of the adapted model
                for each in _asked_as(key, models):
                    yield each, model
                model = None
                continue
            for each in _asked_as(key, models):
                yield each, attached
            model = attached.unload()
            if len(model.get_input_embeddings().weight) != rows:  # remove the tokens that this adapter added
                model.resize_token_embeddings(rows)
    for key, facts in models.items():
        if facts.kind == "merged":
            model = None  # freed before the next one is loaded
            model = loading.load_model(facts.name, load_in_4bit=load_in_4bit)
            for each in _asked_as(key, models):
                yield each, model


def _asked_as(key: str, models: Mapping[str, Model]) -> list[str]:
    """Return the keys under which an adapted model is asked: its own, and that with retrieved files."""
    context = WITH_CONTEXT.get(key, "")
    return [key, context] if context in models else [key]
