"""The README.md of what goes to the Hub: data set, adapter, merged model.

A card states what was made of what, by which command, what it changed, and how to use it. It is written from the
manifests that the stages left, so that nobody has to fill anything in. Metadata follow
huggingface.co/docs/hub/model-cards and datasets-cards; results become a `model-index`.
"""

import collections
import dataclasses
import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from codefit import cli, records

# A row of a comparison: {"metric": "edit_similarity", "label": "Edit similarity", "base": {"value", "low", "high"},
# "adapted": {...}, "verdict": "better", "signature": "...", "benchmark": "heldout"}; the last three may be absent.
Score = dict[str, Any]

PREFIX = "{prefix}"  # the prompt format of a model that knows no fill-in-the-middle
HELD_OUT = "held-out files"

# The identifiers that huggingface.co/docs/hub/repositories-licenses lists and code is often under.
HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0
    cc-by-4.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.2 gemma gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 llama2
    llama3 mit mpl-2.0 ms-pl ncsa ofl-1.1 openrail osl-3.0 other postgresql unlicense wtfpl zlib
"""
SIZES = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7))


# ---------------------------------------------------------------------------------------------- the three cards


def dataset_card(folder: Path, repo_id: str) -> str:
    """Return the card of a folder that preprocess_data.py wrote."""
    from huggingface_hub import DatasetCardData

    manifest = cli.read_manifest(folder)
    splits = _splits(folder)
    total = sum(splits.values())
    licences = sorted({hub_licence(source["license"]) for source in _sources(manifest) if source["license"]})
    data = DatasetCardData(
        pretty_name=_name(repo_id),
        license=licences or None,
        language=["code"],
        task_categories=["text-generation"],
        size_categories=[next((name for name, limit in SIZES if total < limit), "10M<n<100M")],
        tags=_tags(manifest),
        configs=[{"config_name": "default", "data_files": [{"split": s, "path": f"{s}.jsonl"} for s in splits]}],
    )
    use = f'from datasets import load_dataset\n\npairs = load_dataset("{repo_id}")\nprint(pairs["train"][0]["prompt"])'
    return _card(
        data,
        _name(repo_id),
        "Prompts and completions for code models: what stands before a cursor, and what its author wrote next.",
        ("Use it", f"{_code('python', use)}\n\nor train on it: `python train.py --dataset {repo_id}`."),
        ("What it holds", _data(folder)),
        ("How it was made", _origin(manifest)),
    )


def adapter_card(
    folder: Path, repo_id: str, scores: Sequence[Score] = (), prompt_format: str = PREFIX, licence: str = ""
) -> str:
    """Return the card of an adapter folder that train.py wrote.

    Args:
        folder: holds adapter_config.json and the manifest of the training.
        repo_id: where it goes on the Hub.
        scores: rows of the comparison with the base model.
        prompt_format: how a prompt is built from `{prefix}` and, for fill-in-the-middle, `{suffix}`.
        licence: of the base model, which the adapter inherits; "" if it is not known.
    """
    base, revision = base_model(folder)
    name = hub_id(base) or "path/to/the/base"
    pinned = f', revision="{revision}"' if revision and hub_id(base) else ""
    load = (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f'base = AutoModelForCausalLM.from_pretrained("{name}"{pinned}, dtype="auto")\n'
        f'model = PeftModel.from_pretrained(base, "{repo_id}").eval()'
    )
    made = [cli.read_manifest(folder)]
    model = _Model(repo_id, base, "adapter", made, scores, prompt_format, licence)
    return _model_card(model, f"A LoRA adapter that fits {_linked(base)} to a codebase.", load)


def merged_card(
    folder: Path,
    repo_id: str,
    scores: Sequence[Score] = (),
    prompt_format: str = PREFIX,
    licence: str = "",
    adapter: Path | None = None,
) -> str:
    """Return the card of a whole model, merged or trained from scratch.

    Args: as for adapter_card; `adapter` is the folder of the adapter that was merged.
    """
    base, _ = base_model(adapter or folder)
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{repo_id}", dtype="auto").eval()'
    )
    made = [cli.read_manifest(path) for path in (adapter, folder) if path]
    model = _Model(repo_id, base, "finetune", made, scores, prompt_format, licence)
    sentence = f"{_linked(base)}, fitted to a codebase." if base else "A small code model, trained from scratch."
    note = f' The adapter alone: `PeftModel.from_pretrained(base, "{repo_id}", subfolder="adapter")`.'
    return _model_card(model, sentence + (note if adapter else ""), load)


@dataclasses.dataclass(frozen=True, slots=True)
class _Model:
    """What a card says of a model; `made` are the manifests of the stages that made it, the training first."""

    repo_id: str
    base: str
    relation: str
    made: Sequence[dict[str, Any]]
    scores: Sequence[Score]
    prompt_format: str
    licence: str

    @property
    def dataset(self) -> str:
        return str(self.made[0].get("dataset") or "")

    def metadata(self) -> Any:
        """Return the metadata; a base or data set that is not on the Hub is left out, since it would be refused."""
        from huggingface_hub import EvalResult, ModelCardData

        known, dataset = hub_id(self.base), hub_id(self.dataset)
        results = [
            EvalResult(
                task_type="text-generation",
                dataset_type=dataset or "codefit",
                dataset_name=row.get("benchmark", HELD_OUT),
                metric_type=row["metric"],
                metric_name=row["label"],
                metric_value=row["adapted"]["value"],
            )
            for row in self.scores
        ]
        return ModelCardData(
            base_model=known or None,
            base_model_relation=self.relation if known else None,
            library_name="peft" if self.relation == "adapter" else "transformers",
            pipeline_tag="text-generation",
            license=hub_licence(self.licence) if self.licence else None,
            language=["code"],
            datasets=[dataset] if dataset else None,
            tags=[*_tags(cli.read_manifest(Path(self.dataset))), *(["lora"] if self.base else [])],
            model_name=_name(self.repo_id) if results else None,
            eval_results=results or None,
        )


# ---------------------------------------------------------------------------------------------- facts


def base_model(folder: Path) -> tuple[str, str]:
    """Return name and revision of the base of an adapter or a merged model; ("", "") for one from scratch."""
    config = folder / "adapter_config.json"
    if config.is_file():
        content = json.loads(config.read_text(encoding="utf-8"))
        return content.get("base_model_name_or_path") or "", content.get("revision") or ""
    manifest = cli.read_manifest(folder)
    return manifest.get("base_model") or "", manifest.get("base_revision") or ""


def valid_id(name: str) -> bool:
    """Say whether a text is written like the id of a repository on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def hub_id(name: str) -> str:
    """Return a name if it is an id on the Hub, "" if it is a local path: one that exists, or in codefit's folders."""
    local = Path(name).exists() or name.startswith(("data/", "outputs/"))
    return name if valid_id(name) and not local else ""


def hub_licence(spdx: str) -> str:
    """Return the Hub's identifier for an SPDX one: GPL-3.0-or-later is gpl-3.0, what the Hub does not list is other."""
    name = spdx.lower().removesuffix("-only").removesuffix("-or-later").removesuffix("+")
    return name if name in HUB_LICENCES.split() else "other"


def _parsed(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the manifests that parse_data.py wrote for the inputs of a prepared data set."""
    return [cli.read_manifest(Path(path)) for path in manifest.get("inputs", {})]


def _sources(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the sources of a prepared data set: name, kind, commit, license, documents."""
    return [source for parsed in _parsed(manifest) for source in parsed.get("sources", [])]


def _splits(folder: Path) -> dict[str, int]:
    """Return the rows of each split."""
    paths = {split: folder / f"{split}.jsonl" for split in records.SPLITS}
    return {split: _lines(path) for split, path in paths.items() if path.is_file()}


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _rejections(folder: Path) -> list[tuple[str, str, int]]:
    """Return stage, rule and count of what was left out on the way from the sources to the pairs."""
    rows = []
    for parsed in _parsed(cli.read_manifest(folder)):
        rows += [("parse_data.py", rule, count) for rule, count in parsed.get("rejections", {}).items()]
    path = folder / "rejected.jsonl"
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            rules = collections.Counter(json.loads(line)["rule"] for line in file)
        rows += [("preprocess_data.py", rule, count) for rule, count in rules.most_common()]
    return rows


def _tags(prepared: dict[str, Any]) -> list[str]:
    languages = {
        name: None
        for manifest in (prepared, *_parsed(prepared))
        for name in manifest.get("arguments", {}).get("language") or []
    }
    return ["code", "code-completion", "codefit", *languages]


def _name(repo_id: str) -> str:
    return repo_id.split("/")[-1]


def _linked(name: str) -> str:
    known = hub_id(name)
    return f"[{known}](https://huggingface.co/{known})" if known else f"a local base model (`{Path(name).name}`)"


# ---------------------------------------------------------------------------------------------- text


def _card(data: Any, title: str, sentence: str, *sections: tuple[str, str]) -> str:
    """Return the card: metadata, title, one sentence, and the sections that have something to say."""
    parts = [f"---\n{data.to_yaml()}\n---", f"# {title}", sentence]
    parts += [f"## {heading}\n\n{text}" for heading, text in sections if text]
    return "\n\n".join(parts) + "\n"


def _model_card(model: _Model, sentence: str, load: str) -> str:
    named = f"`{model.dataset}`" if hub_id(model.dataset) else ""
    return _card(
        model.metadata(),
        _name(model.repo_id),
        sentence,
        ("What it changed", _results(model.scores)),
        ("Use it", _code("python", f"{load}\n\n{COMPLETE}")),
        ("Prompt format", _prompt_format(model.prompt_format)),
        ("Trained on", _data(Path(model.dataset)) or named),
        ("How it was made", "\n\n".join(_origin(manifest) for manifest in model.made)),
    )


COMPLETE = """prefix = "def is_even(number):\\n    return"  # the code before the cursor
inputs = tokenizer(prefix, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""


def _results(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = [
        (row["label"], row.get("benchmark", HELD_OUT), _value(row["base"]), _value(row["adapted"]), row.get("verdict"))
        for row in scores
    ]
    signatures = dict.fromkeys(row["signature"] for row in scores if row.get("signature"))
    notes = ["Brackets hold 95 % intervals.", *(f"`{signature}`" for signature in signatures)]
    return _table(("metric", "on", "base", "adapted", "verdict"), rows) + "\n\n" + "  \n".join(notes)


def _value(score: dict[str, Any]) -> str:
    """Return a value with its interval, if it has one."""
    if score.get("low") is None:
        return f"{score['value']:.4g}"
    return f"{score['value']:.4g} [{score['low']:.4g}, {score['high']:.4g}]"


def _prompt_format(prompt_format: str) -> str:
    if prompt_format == PREFIX:
        return "The code before the cursor, as it is. It is a completion model: no chat template, no instruction."
    return (
        "Either the code before the cursor, as it is, or, to fill in between two pieces of code:\n\n"
        f"{_code('text', prompt_format)}\n\nIt is a completion model: no chat template, no instruction."
    )


def _data(folder: Path) -> str:
    """Return what a prepared data set holds, where that came from, and what was left out by which rule."""
    splits = _splits(folder)
    if not splits:
        return ""
    parts = [_table(("split", "pairs"), splits.items())]
    sources = [
        (row["name"], row["kind"], row["commit"][:12], row["license"] or "unknown", row["documents"])
        for row in _sources(cli.read_manifest(folder))
    ]
    if sources:
        parts.append("Sources:\n\n" + _table(("source", "kind", "commit", "licence", "documents"), sources))
    rejections = _rejections(folder)
    if rejections:
        parts.append("Left out:\n\n" + _table(("by", "rule", "files or pairs"), rejections))
    return "\n\n".join(parts)


def _origin(manifest: dict[str, Any]) -> str:
    """Return the command of a manifest, and the versions it ran with."""
    if not manifest:
        return ""
    command = shlex.join(["python", *manifest["command"]])
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    commit = f"codefit {manifest['toolkit_commit']}, " if manifest.get("toolkit_commit") else ""
    took = f"; took {cli.duration(manifest['seconds'])}" if "seconds" in manifest else ""
    return f"{_code('bash', command)}\n\nWith {commit}{versions}{took}."


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
