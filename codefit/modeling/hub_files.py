"""Files of models and adapters, in a local folder or on the Hub: configuration, base, manifest."""

import contextlib
import re
from pathlib import Path
from typing import Any

from codefit import hub_names, model_files
from codefit.errors import UserError, first_line
from codefit.gguf_base import gguf_file, local_model
from codefit.manifest import read_manifest
from codefit.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, GENERATION_CONFIG
from codefit.outputs import MANIFEST

# The files of a Hub repository that make up an adapter, its tokenizer and what train.py saved with it.
FILES_OF_AN_ADAPTER = (
    *(ADAPTER_WEIGHTS, MANIFEST, GENERATION_CONFIG, *model_files.VOCABULARIES, model_files.TOKENIZER_CONFIG),
    *(model_files.SPECIAL_TOKENS, model_files.ADDED_TOKENS, "merges.txt", "chat_template.jinja"),
)
# The names that architectures give their embedding and output layer.
TABLES = tuple(
    f".{name}.weight"
    for name in ("embed_tokens", "wte", "embed_in", "word_embeddings", "embeddings", "lm_head", "embed_out")
)


def is_adapter(name: str) -> bool:
    """Return whether a folder or Hub repository holds a PEFT adapter."""
    if Path(name).is_dir():
        return (Path(name) / ADAPTER_CONFIG).is_file()
    if gguf_file(name):
        return False
    return _hub_file(name, ADAPTER_CONFIG) is not None


def is_whole(name: str) -> bool:
    """Return whether a folder, a GGUF file or a Hub repository holds a full model."""
    name = local_model(name)
    return (Path(name) / CONFIG).is_file() if Path(name).is_dir() else bool(_hub_file(name, CONFIG))


def base_of(adapter: str, given: str | None = None) -> tuple[str, str | None]:
    """Return name and revision of an adapter's base model: the one given, or the one its metadata names.

    Raises:
        UserError: the adapter has no readable adapter_config.json, or its base is not known or not found.
    """
    path = Path(adapter) / ADAPTER_CONFIG if Path(adapter).is_dir() else _hub_file(adapter, ADAPTER_CONFIG)
    if path is None or not path.is_file():
        raise UserError(f"{adapter} holds no {ADAPTER_CONFIG}; train.py writes one into its --output_dir.")
    config = model_files.adapter_config(path)
    named = config.base_model_name_or_path
    if given:
        return given, config.revision if given == named else None
    if not named:
        raise UserError(f"{path} does not name its base model; give it with --model_name_or_path.")
    if not Path(named).exists() and not is_hub_id(named):
        raise UserError(
            f"{path} names the base model {named}, which does not exist; give it with --model_name_or_path."
        )
    return named, config.revision


def is_hub_id(name: str) -> bool:
    """Return whether a string has the form of a repository id on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in __all__

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def ends_of(name: str, revision: str | None = None) -> list[int]:
    """Return the ids of the end-of-sequence tokens that a model's metadata name; [] where they name none."""
    name = local_model(name)
    for file in (GENERATION_CONFIG, CONFIG):
        path = Path(name) / file if Path(name).is_dir() else _hub_file(name, file, revision)
        if path is not None and path.is_file() and (ends := model_files.generation_ends(path)):
            return ends
    return []


def commit_of(name: str, revision: str | None = None) -> str | None:
    """Return the commit of the latest download of a Hub model; None for a local model or an unknown commit."""
    if Path(name).exists():
        return None
    with contextlib.suppress(UserError):  # it is loaded already; the Hub may be out of reach by now
        if path := _hub_file(name, CONFIG, revision):
            commit = path.parent.name  # the Hub's cache names a snapshot's folder after its commit
            return commit if re.fullmatch("[0-9a-f]{40}", commit) else None
    return None


def vocabulary_rows(name: str, revision: str | None = None) -> int | None:
    """Return how many rows a model's embedding has by its config.json; None where it does not say."""
    name = local_model(name)
    path = Path(name) / CONFIG if Path(name).is_dir() else _hub_file(name, CONFIG, revision)
    config = model_files.model_config(path) if path is not None and path.is_file() else {}
    rows = (config.get("text_config") or config).get("vocab_size", config.get("vocab_size"))
    return rows if isinstance(rows, int) else None


def check_model(name: str, revision: str | None = None) -> None:
    """Raise UserError where files of a full model are malformed, before a library reads them."""
    name = local_model(name)
    if Path(name).is_dir():
        if (Path(name) / CONFIG).is_file():
            model_files.check_model(Path(name))
    elif path := _hub_file(name, CONFIG, revision):
        model_files.model_config(path)


def has_tokenizer(folder: str) -> bool:
    """Return whether a folder holds a tokenizer. Other tools save adapters without one."""
    return any((Path(folder) / file).is_file() for file in model_files.VOCABULARIES)


def _hub_file(repository: str, file: str, revision: str | None = None) -> Path | None:
    """Return a downloaded file of a Hub repository, or None if that repository has no such file."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    hub_names.reach_for(repository)
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except LocalEntryNotFoundError:  # no connection; the cache may know that the repository lacks the file
        if try_to_load_from_cache(repository, CONFIG) or try_to_load_from_cache(repository, ADAPTER_CONFIG):
            return None
        raise UserError(
            f"{repository} is not a local folder, and the Hub cannot be reached; "
            f"{hub_names.suggestion(repository, 'check the name')}"
        ) from None
    except EntryNotFoundError:
        return None
    except Exception as error:  # the client raises OSError, ValueError and bare transport errors for the same cause
        reason = first_line(error)
        raise UserError(
            f"{repository} is neither a local folder nor readable on the Hub ({reason}); "
            f"{hub_names.suggestion(repository, 'check the name and your login')}"
        ) from None


def adapter_folder(name: str) -> Path:
    """Return the local folder of an adapter; an adapter on the Hub is downloaded first.

    Raises:
        UserError: it cannot be found or downloaded, or has no safetensors weights.
    """
    folder = Path(name)
    if (folder / CONFIG).is_file() and not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{name} is a full model, not an adapter, so there is nothing to merge; "
            "use it directly with benchmarking.py and complete.py."
        )
    if not folder.is_dir():
        config = _hub_file(name, ADAPTER_CONFIG)
        if config is None:
            raise UserError(f"{name} on the Hub holds no {ADAPTER_CONFIG}; name a repository that train.py pushed to.")
        for file in FILES_OF_AN_ADAPTER:
            _hub_file(name, file)
        folder = config.parent
    if not (folder / ADAPTER_WEIGHTS).is_file():
        raise UserError(f"{name} holds no {ADAPTER_WEIGHTS}; train.py writes one into its --output_dir.")
    check_adapter(folder)
    return folder


def check_adapter(folder: Path) -> None:
    """Raise UserError where files of an adapter are malformed, or its configuration and weights disagree."""
    if not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(f"{folder} holds no {ADAPTER_CONFIG}; train.py writes one into its --output_dir.")
    config = model_files.adapter_config(folder / ADAPTER_CONFIG)
    shapes = model_files.shapes_in(folder / ADAPTER_WEIGHTS)
    widest = max((max(shape, default=1) for shape in shapes.values()), default=1)
    rank = max(config.r, *(config.rank_pattern or {}).values(), 1)
    if config.peft_type == "LORA" and any("lora_" in name for name in shapes) and rank > widest:
        raise UserError(
            f"{folder / ADAPTER_CONFIG} gives the rank {rank}, more than the weights have; download or train it again."
        )


def rows_of(adapter: str) -> int:
    """Return how many embedding rows the base model must have for an adapter's new tokens; 0 where it has none.

    An adapter stores single rows, or a whole embedding table that was trained or saved with it.
    """
    config = model_files.adapter_config(Path(adapter) / ADAPTER_CONFIG)
    brought = config.trainable_token_indices or []
    single = [row for ids in (brought.values() if isinstance(brought, dict) else [brought]) for row in ids]
    shapes = model_files.shapes_in(Path(adapter) / ADAPTER_WEIGHTS)
    tables = [shape[0] for name, shape in shapes.items() if len(shape) == 2 and name.endswith(TABLES)]
    return max([*(row + 1 for row in single), *tables], default=0)


def manifest_of(name: str) -> dict[str, Any]:
    """Return the manifest of a model or adapter, from its folder or from the Hub; {} if there is none."""
    name = local_model(name)
    if Path(name).is_dir():
        return read_manifest(Path(name))
    file = _hub_file(name, MANIFEST)
    return read_manifest(file.parent) if file else {}
