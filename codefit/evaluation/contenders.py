"""The models of a benchmark: what is known of them beforehand, and one at a time in memory to be asked.

Roles: "base", "adapted" for the first model of --hf_repository, "adapted-2", … for further ones, and "few-shot" for the
base with examples in its prompts. An adapter is attached to the base that is loaded already.
"""

import argparse
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from codefit import fim
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.generation import batched
from codefit.modeling import hub_files, loading, merging

DATASET = "data/kotlin_prepared_dataset"
PROMPT_TOKENS = 512  # for an adapted model of others, which says nothing about its prompts
FEW_SHOT = "few-shot"


def resolve(args: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Return what is known of all models by role, and fill the flags that were left to the first one's metadata.

    Raises:
        UserError: a model cannot be had, its base is not known, or two models were made from different bases.
    """
    found = [_describe(name, args.model_name_or_path) for name in args.hf_repository]
    bases = {(model["base"], model["revision"]) for model, _ in found if model["base"]}
    names = {args.model_name_or_path} if args.model_name_or_path else {base for base, _ in bases}
    if not names:
        raise UserError(f"{args.hf_repository[0]} does not name its base model; give it with --model_name_or_path.")
    if len(names) > 1:
        raise UserError(
            f"these models have different bases ({', '.join(sorted(names))}); ask them one by one, "
            "and set the runs side by side with --compare."
        )
    base = names.pop()
    revision = next((revision for name, revision in bases if name == base and revision), None)
    first, made = found[0]
    args.dataset = args.dataset or made.get("dataset") or DATASET
    args.max_prompt_tokens = args.max_prompt_tokens or made.get("max_prompt_tokens") or PROMPT_TOKENS
    args.forgetting = args.forgetting or _replayed(made.get("replay"))
    if args.load_in_4bit is None:
        args.load_in_4bit = first["kind"] == "adapter" and bool(made.get("load_in_4bit"))
    if args.tokens_per_batch is None:
        outline = loading.load_model(base, revision=revision, place=torch.device("meta"))
        args.tokens_per_batch = batched.tokens_that_fit(outline)
    by_role = {"base": {"name": base, "revision": revision, "label": "base"}}
    labels = _labels([model for model, _ in found])
    for number, ((model, _), label) in enumerate(zip(found, labels, strict=True), 1):
        kept = {key: value for key, value in model.items() if key not in ("base", "revision") and value is not None}
        by_role["adapted" if number == 1 else f"adapted-{number}"] = {**kept, "label": label}
    if args.few_shot:
        by_role[FEW_SHOT] = {"name": base, "kind": FEW_SHOT, "label": f"{args.few_shot}-shot base"}
    return by_role


def _replayed(replay: str | None) -> str | None:
    """Return the data set that training mixed in against forgetting, where its held-out pairs are on this machine."""
    if not replay or (Path(replay) / "test.jsonl").is_file():
        return replay
    print(f"note: {replay}, replayed in training, has no test.jsonl here: no forgetting check")
    return None


def _describe(name: str, given: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what is known of an adapted model, and the manifest of the stage that made it.

    Args:
        name: folder or Hub id.
        given: the base that was asked for.
    """
    is_adapter = hub_files.is_adapter(name)
    folder = hub_files.adapter_folder(name) if is_adapter else Path(name)
    made = hub_files.manifest_of(name)
    base, revision = (
        hub_files.base_of(str(folder), given) if is_adapter else (made.get("base_model"), made.get("base_revision"))
    )
    loss = (made.get("validation") or {}).get("eval_loss")
    kind = "adapter" if is_adapter else "merged"
    facts = {"name": name, "kind": kind, "folder": str(folder), "base": base, "revision": revision}
    return {**facts, "validation_loss": loss}, made


def _labels(found: list[dict[str, Any]]) -> list[str]:
    """Return what the models are called in tables: by their kind where that tells them apart, else by what differs
    in their names."""
    if len(found) == 1:
        return ["adapted"]
    for labels in ([model["kind"] for model in found], [Path(model["name"]).name for model in found]):
        if len(set(labels)) == len(labels):
            return labels
    columns = list(zip(*(Path(model["name"]).parts for model in found), strict=False))
    labels = ["/".join(parts) for parts in zip(*(column for column in columns if len(set(column)) > 1), strict=True)]
    if len(set(labels)) == len(found):  # one/adapter and two/adapter are one and two
        return labels
    return [model["name"] for model in found]


def encoders(by_role: dict[str, dict[str, Any]], max_prompt_tokens: int) -> dict[str, Encoder]:
    """Return what makes the prompts of each model: the base's tokenizer, or its own where it learned sentinels.

    Beside such a model the others are asked without the text behind the cursor, and their labels say so.

    Raises:
        UserError: a merged model has other tokens than the base; asked with one tokenizer, it would answer nonsense.
    """
    base = by_role["base"]
    place = (base["name"], base["revision"])
    tokenizer = loading.load_tokenizer(*place)
    learned = {role: own for role, facts in by_role.items() if (own := _own_tokenizer(facts, tokenizer, base["name"]))}
    if rows := hub_files.vocabulary_rows(*place):
        loading.fit_tokens(tokenizer, rows, base["name"])
    ends = loading.end_ids(
        tokenizer, place, *((facts["folder"], None) for facts in by_role.values() if "folder" in facts)
    )
    for role, facts in by_role.items():
        if learned and role not in learned:
            facts["label"] += " (prompt only)"
    return {
        role: Encoder(learned.get(role, tokenizer), max_prompt_tokens, bool(learned) and role not in learned, ends)
        for role in by_role
    }


def _own_tokenizer(facts: dict[str, Any], tokenizer: Any, base: str) -> Any:
    """Return the tokenizer of a model that learned sentinels; None for any other."""
    if facts.get("kind") == "adapter":
        brings = hub_files.rows_of(facts["folder"]) and hub_files.has_tokenizer(facts["folder"])
        return loading.load_tokenizer(facts["folder"]) if brings else None
    if facts.get("kind") != "merged":
        return None
    own = loading.load_tokenizer(facts["name"])
    wanted, has = tokenizer.get_vocab(), own.get_vocab()
    if has == wanted:
        return None
    if {token: number for token, number in has.items() if token not in fim.BASE.sentinels} != wanted:
        raise UserError(
            f"{facts['name']} has another vocabulary than {base} and was not made from it; "
            "name its true base with --model_name_or_path."
        )
    return own


def loaded(by_role: dict[str, dict[str, Any]], load_in_4bit: bool) -> Iterator[tuple[str, Any]]:
    """Yield (role, model) of every model, the base first; the one before must not be used any more.

    In float32 an adapter is merged: data/base with an adapter of rank 32 then writes 1.3 times as fast, and none of 500
    completions was another one. In fewer bits a merge would round, so the adapter is asked beside its base.
    """
    base = by_role["base"]
    load_base = functools.partial(
        loading.load_model, base["name"], revision=base["revision"], load_in_4bit=load_in_4bit
    )
    model = load_base()
    yield "base", model
    if FEW_SHOT in by_role:
        yield FEW_SHOT, model
    for role, facts in by_role.items():
        if facts.get("kind") == "adapter":
            model = load_base() if model is None else model
            rows = len(model.get_input_embeddings().weight)
            attached = loading.attach_adapter(model, facts["folder"])
            if attached.dtype == torch.float32 and not load_in_4bit and loading.can_be_merged(attached):
                model = None  # its weights become those of the adapted model
                yield role, merging.merge_in_memory(attached)
                continue
            yield role, attached
            model = attached.unload()
            if len(model.get_input_embeddings().weight) != rows:  # the next adapter knows no tokens of this one
                model.resize_token_embeddings(rows)
    for role, facts in by_role.items():
        if facts.get("kind") == "merged":
            model = None  # gone before the next one comes
            model = loading.load_model(facts["name"], load_in_4bit=load_in_4bit)
            yield role, model
