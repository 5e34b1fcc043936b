"""Cards for the Hub (README.md) of documents, data sets, adapters, merged models and GGUF files.

A card states what was made from what, by which command, what it changed, and how to use it. Everything comes from the
manifests of the stages, so that nothing has to be filled in by hand. The metadata follow
huggingface.co/docs/hub/model-cards and datasets-cards; results become a `model-index`.
"""

import dataclasses
import math
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from codefit import fim, model_files
from codefit.errors import UserError
from codefit.evaluation import result_schema
from codefit.evaluation.result_schema import Difference, MetricRow, Score
from codefit.manifest import GgufOrigin, Source, read_manifest
from codefit.publishing import editors, provenance

ADAPTED = "adapted"  # the role of the model that the card describes
TAGS = ("code", "code-completion", "codefit")
SIZES = (("n<1K", 1e3), ("1K<n<10K", 1e4), ("10K<n<100K", 1e5), ("100K<n<1M", 1e6), ("1M<n<10M", 1e7))


@dataclasses.dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """One metric of one benchmark, for the card of the model that was measured."""

    benchmark: str
    row: MetricRow


def read_scores(folder: Path, names: set[str]) -> list[BenchmarkRow]:
    """Return the rows of a benchmark's scores.json, for the card of the measured model.

    Args:
        folder: the output of benchmarking.py.
        names: possible names of the model there: its folder, its adapter's folder, its Hub id.

    Raises:
        UserError: the folder has no scores, or those of another model.
    """
    scores = result_schema.read(folder)
    measured = scores.models[ADAPTED].name if ADAPTED in scores.models else "no adapted model"
    if _place(measured) not in map(_place, names):
        path = folder / result_schema.FILE
        raise UserError(
            f"{path} has the scores of {measured}, not of this model; give the benchmark folder of this model."
        )
    return [
        BenchmarkRow(benchmark, row)
        for benchmark, result in scores.benchmarks.items()
        for row in result.metrics
        if math.isfinite(row.scores[ADAPTED].value)
    ]


def _place(name: str) -> str:
    return str(Path(name).resolve()) if Path(name).exists() else name


# ---------------------------------------------------------------------------------------------- the five cards


def documents_card(folder: Path, repo_id: str) -> str:
    """Return the card of a folder with the documents, rejections and manifest of parse_data.py."""
    from huggingface_hub import DatasetCardData

    manifest = read_manifest(folder)
    sources = provenance.parsed_sources(manifest)
    documents = sum(source.documents for source in sources)
    file = next(folder.glob("documents.*")).name
    data = DatasetCardData(
        pretty_name=_name(repo_id),
        license=provenance.licences(sources) or None,
        language=["code"],
        task_categories=["text-generation"],
        size_categories=[_size(documents)],
        tags=["code", "codefit", *provenance.languages(manifest)],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": file}]}],
    )
    use = f'from datasets import load_dataset\n\nfiles = load_dataset("{repo_id}", split="train")'
    rejected = sorted(manifest.get("rejections", {}).items(), key=lambda item: -item[1])
    return _card(
        data,
        _name(repo_id),
        "Source files as they are in their repositories: nothing is redacted, and no header is removed.",
        ("Use it", f"{_code('python', use)}\n\nor make pairs: `python preprocess_data.py --input {repo_id}`."),
        ("What it holds", _sources(sources)),
        ("Left out", _table(("reason", "files"), rejected) if rejected else ""),
        ("How it was made", _origin(manifest)),
    )


def dataset_card(folder: Path, repo_id: str) -> str:
    """Return the card of a folder that preprocess_data.py wrote."""
    from huggingface_hub import DatasetCardData

    manifest = read_manifest(folder)
    splits = provenance.splits(folder)
    total = sum(splits.values())
    data = DatasetCardData(
        pretty_name=_name(repo_id),
        license=provenance.licences(provenance.sources(manifest)) or None,
        language=["code"],
        task_categories=["text-generation"],
        size_categories=[_size(total)],
        tags=[*TAGS, *provenance.languages(manifest)],
        configs=[{"config_name": "default", "data_files": [{"split": s, "path": f"{s}.jsonl"} for s in splits]}],
    )
    use = f'from datasets import load_dataset\n\npairs = load_dataset("{repo_id}")\nprint(pairs["train"][0]["prompt"])'
    return _card(
        data,
        _name(repo_id),
        "Prompts and completions for code models: the code before a cursor, and what its author wrote next.",
        ("Use it", f"{_code('python', use)}\n\nor train on it: `python train.py --dataset {repo_id}`."),
        ("What it holds", _data(folder)),
        ("How it was made", "\n\n".join(map(_origin, (*provenance.parsed(manifest), manifest))).strip()),
    )


def adapter_card(folder: Path, repo_id: str, scores: Sequence[BenchmarkRow] = (), licence: str = "") -> str:
    """Return the card of an adapter folder that train.py wrote.

    Args:
        folder: contains adapter_config.json and the manifest of the training run.
        repo_id: its repository on the Hub.
        scores: rows of the comparison with the base model.
        licence: licence of the base model, which the adapter inherits; "" if it is not known.
    """
    base, revision = provenance.base_model(folder)
    gguf = provenance.gguf_base(folder)
    name = provenance.hub_id(base) or "path/to/the/base"
    pinned = f', revision="{revision}"' if revision and provenance.hub_id(base) else ""
    if gguf:
        name, pinned = "path/to/its/folder", f', gguf_file="{Path(gguf.file).name}"'
    load = (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f'base = AutoModelForCausalLM.from_pretrained("{name}"{pinned}, dtype="auto")\n'
        f'model = PeftModel.from_pretrained(base, "{repo_id}").eval()'
    )
    made = [read_manifest(folder)]
    model = _Model(repo_id, base, gguf, "adapter", made, scores, prompt_format(folder), licence, lora=True)
    return _model_card(model, f"A LoRA adapter that fits {_named(base, gguf)} to a codebase.", load)


def merged_card(
    folder: Path,
    repo_id: str,
    scores: Sequence[BenchmarkRow] = (),
    licence: str = "",
    adapter: Path | None = None,
) -> str:
    """Return the card of a full model, merged or trained from scratch.

    Args: as for adapter_card; `adapter` is the folder of the adapter that was merged.
    """
    base, _ = provenance.base_model(adapter or folder)
    gguf, is_lora = provenance.gguf_base(folder), adapter is not None
    load = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        f'tokenizer = AutoTokenizer.from_pretrained("{repo_id}")\n'
        f'model = AutoModelForCausalLM.from_pretrained("{repo_id}", dtype="auto").eval()'
    )
    made = [read_manifest(path) for path in (adapter, folder) if path]
    model = _Model(repo_id, base, gguf, "finetune", made, scores, prompt_format(folder), licence, lora=is_lora)
    sentence = (
        f"This is {_named(base, gguf)}, fitted to a codebase." if base else "A small code model, trained from scratch."
    )
    note = f' The adapter alone: `PeftModel.from_pretrained(base, "{repo_id}", subfolder="adapter")`.'
    return _model_card(model, sentence + (note if adapter else ""), load)


def gguf_card(folder: Path, repo_id: str, merged: str, licence: str = "") -> str:
    """Return the card of a folder of GGUF files.

    Args:
        folder: the files, with the settings of editors.
        repo_id: its repository on the Hub.
        merged: the repository of the model that was converted.
        licence: licence of the base model; "" if it is not known.
    """
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=merged,
        base_model_relation="quantized",
        library_name="gguf",
        pipeline_tag="text-generation",
        license=provenance.hub_licence(licence) if licence else None,
        language=["code"],
        tags=[*TAGS],
    )
    manifest = read_manifest(folder)
    first = sorted(folder.glob("*.gguf"))[0]
    tag = first.stem.rpartition("-")[2]
    infill, context = fim.named(manifest.get("infill")), int(manifest["context"])
    serve = editors.server_command(["-hf", f"{repo_id}:{tag}"], infill, context)
    use = f"{serve}    # llama.vscode, llama.vim, Continue, Tabby\nollama run hf.co/{repo_id}:{tag}"
    files = [(path.name, f"{path.stat().st_size / 1e6:,.0f} MB") for path in sorted(folder.glob("*.gguf"))]
    return _card(
        data,
        _name(repo_id),
        f"[{merged}](https://huggingface.co/{merged}) for llama.cpp and tools based on it, with editor settings.",
        ("Files", _table(("file", "size"), files)),
        ("Use it", _code("bash", use) + "\n\n`continue.yaml` and `tabby.toml` are ready to be copied."),
        ("Prompt format", _prompt_format(editors.template(infill, "{prefix}", "{suffix}"))),
        ("How it was made", _origin(manifest)),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _Model:
    """The facts about a model in a card; `made` holds the manifests of the stages that made it, training first."""

    repo_id: str
    base: str
    gguf: GgufOrigin | None
    relation: str
    made: Sequence[dict[str, Any]]
    scores: Sequence[BenchmarkRow]
    prompt_format: str
    licence: str
    lora: bool

    @property
    def dataset(self) -> str:
        """The folder or Hub id of the training data."""
        return str(self.made[0].get("dataset") or "")

    @property
    def prepared(self) -> dict[str, Any]:
        """The manifest of the data set, if it is on this machine."""
        return read_manifest(Path(self.dataset)) if self.dataset else {}

    @property
    def dataset_id(self) -> str:
        """The Hub id of the data set, "" if it has none."""
        return provenance.hub_id(self.dataset) or self.prepared.get("arguments", {}).get("hf_repository") or ""

    def metadata(self) -> Any:
        """Return the metadata, without a base or data set that is not on the Hub, since the Hub would refuse it."""
        from huggingface_hub import EvalResult, ModelCardData

        known, dataset = provenance.hub_id(self.base), self.dataset_id
        results = [
            EvalResult(
                task_type="text-generation",
                dataset_type=found.benchmark,  # the Hub groups results by it
                dataset_name=found.benchmark,
                metric_type=found.row.metric,
                metric_name=found.row.label,
                metric_value=found.row.scores[ADAPTED].value,
            )
            for found in self.scores
        ]
        return ModelCardData(
            base_model=known or None,
            base_model_relation=self.relation if known else None,
            library_name="peft" if self.relation == "adapter" else "transformers",
            pipeline_tag="text-generation",
            license=provenance.hub_licence(self.licence) if self.licence else None,
            language=["code"],
            datasets=[dataset] if dataset else None,
            tags=[*TAGS, *provenance.languages(self.prepared), *(["lora"] if self.lora else [])],
            model_name=_name(self.repo_id) if results else None,
            eval_results=results or None,
        )


# ---------------------------------------------------------------------------------------------- text


def _name(repo_id: str) -> str:
    return repo_id.split("/")[-1]


def _linked(name: str) -> str:
    known = provenance.hub_id(name)
    return f"[{known}](https://huggingface.co/{known})" if known else f"a local base model (`{Path(name).name}`)"


def _named(base: str, gguf: GgufOrigin | None) -> str:
    return f"the dequantised model of a GGUF file (`{Path(gguf.file).name}`)" if gguf else _linked(base)


def _gguf_base(gguf: GgufOrigin) -> str:
    """Return which file a base was dequantised from."""
    rows = [
        ("file", f"`{Path(gguf.file).name}`"),
        ("sha256", f"`{gguf.sha256}`"),
        ("quantisation", gguf.quantisation),
        ("licence, as the file states it", gguf.licence or "not stated"),
    ]
    return (
        "The base is the dequantised model: the weights that this file holds. The original model of higher precision "
        f"has other weights, and was not used.\n\n{_table(('GGUF file', ''), rows)}"
    )


def _card(data: Any, title: str, sentence: str, *sections: tuple[str, str]) -> str:
    """Return the card: metadata, title, one sentence, and all non-empty sections."""
    parts = [f"---\n{data.to_yaml()}\n---", f"# {title}", sentence]
    parts += [f"## {heading}\n\n{text}" for heading, text in sections if text]
    return "\n\n".join(parts) + "\n"


def _model_card(model: _Model, sentence: str, load: str) -> str:
    data = _data(Path(model.dataset)) if model.dataset else ""
    return _card(
        model.metadata(),
        _name(model.repo_id),
        sentence,
        ("What it changed", _results(model.scores)),
        ("Use it", _code("python", f"{load}\n\n{COMPLETE}")),
        ("Base", _gguf_base(model.gguf) if model.gguf else ""),
        ("Prompt format", _prompt_format(model.prompt_format)),
        ("Trained on", data or model.dataset_id),
        ("How it was made", "\n\n".join(map(_origin, model.made))),
    )


COMPLETE = """prefix = "def is_even(number):\\n    return"  # the code before the cursor
inputs = tokenizer(prefix, return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=64, do_sample=False)
options = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
before = tokenizer.decode(inputs["input_ids"][0], **options)
print(tokenizer.decode(output[0], **options)[len(before) :])  # a completion decoded alone may lose its first space"""


def _results(scores: Sequence[BenchmarkRow]) -> str:
    if not scores:
        return ""
    rows = [
        (
            found.row.label,
            found.benchmark,
            *(_value(found.row.scores[key]) for key in ("base", ADAPTED)),
            _value(found.row.against_base[ADAPTED]),
            found.row.against_base[ADAPTED].verdict,
        )
        for found in scores
    ]
    signatures = dict.fromkeys(found.row.signature for found in scores)
    notes = ["Brackets hold 95 % intervals.", *(f"`{signature}`" for signature in signatures)]
    return _table(("metric", "on", "base", "adapted", "difference", "verdict"), rows) + "\n\n" + "  \n".join(notes)


def _value(found: Score | Difference) -> str:
    """Return a value with its interval."""
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def prompt_format(folder: Path) -> str:
    """Return the prompt format with `{prefix}` and `{suffix}`; without a tokenizer, only with the prefix."""
    infill = editors.infill_format(folder) if (folder / model_files.TOKENIZER).is_file() else None
    return editors.template(infill, "{prefix}", "{suffix}")


def _prompt_format(prompt_format: str) -> str:
    if "{suffix}" not in prompt_format:
        return "The code before the cursor, as it is. It is a completion model: no chat template, no instruction."
    return (
        "Either the code before the cursor, as it is, or, to fill in between two pieces of code:\n\n"
        f"{_code('text', prompt_format)}\n\nIt is a completion model: no chat template, no instruction."
    )


def _data(folder: Path) -> str:
    """Return the content of a prepared data set, its sources, and the rejections by rule."""
    splits = provenance.splits(folder)
    if not splits:
        return ""
    parts = [_table(("split", "pairs"), splits.items())]
    if sources := provenance.sources(read_manifest(folder)):
        parts.append("Sources:\n\n" + _sources(sources))
    rejections = provenance.rejections(folder)
    if rejections:
        parts.append("Left out:\n\n" + _table(("what", "rule", "count"), rejections))
    return "\n\n".join(parts)


def _sources(sources: Sequence[Source]) -> str:
    """Return the table of the sources, with commit and licence."""
    rows = [(each.name, each.kind, each.commit[:12], each.license or "unknown", each.documents) for each in sources]
    return _table(("source", "kind", "commit", "licence", "documents"), rows)


def _size(rows: int) -> str:
    """Return the Hub's category of a number of rows."""
    return next((name for name, limit in SIZES if rows < limit), "10M<n<100M")


def _origin(manifest: dict[str, Any]) -> str:
    """Return the command of a manifest, and the versions of the packages."""
    if "command" not in manifest or "versions" not in manifest:
        return ""
    command = re.sub(r"://[^/@\s]+@", "://***@", shlex.join(["python", *manifest["command"]]))  # name:password@host
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    commit = f"codefit {manifest['toolkit_commit']}, " if manifest.get("toolkit_commit") else ""
    return f"{_code('bash', command)}\n\nWith {commit}{versions}."


def _code(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _table(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str("" if cell is None else cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    )
