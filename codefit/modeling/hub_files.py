"""Files of models and adapters, in a local folder or on the Hub: configuration, base, manifest."""

import json
from pathlib import Path
from typing import Any

from codefit.errors import UserError, first_line
from codefit.manifest import read_manifest
from codefit.outputs import MANIFEST

ADAPTER_CONFIG = "adapter_config.json"


def is_adapter(name: str) -> bool:
    """Return whether a folder or Hub repository holds a PEFT adapter."""
    if Path(name).is_dir():
        return (Path(name) / ADAPTER_CONFIG).is_file()
    return _hub_file(name, ADAPTER_CONFIG) is not None


def is_whole(name: str) -> bool:
    """Return whether a folder or Hub repository holds a whole model."""
    return (Path(name) / "config.json").is_file() if Path(name).is_dir() else bool(_hub_file(name, "config.json"))


def base_of(adapter: str) -> tuple[str, str | None]:
    """Return name and revision of the base that an adapter was trained on, from its own metadata.

    Raises:
        UserError: the adapter has no readable adapter_config.json, or it names no base.
    """
    path = Path(adapter) / ADAPTER_CONFIG if Path(adapter).is_dir() else _hub_file(adapter, ADAPTER_CONFIG)
    if path is None or not Path(path).is_file():
        raise UserError(f"{adapter} holds no {ADAPTER_CONFIG}; train.py writes one into its --output_dir.")
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not valid JSON; train again, or download the adapter again.") from None
    if not config.get("base_model_name_or_path"):
        raise UserError(f"{path} does not name its base model; give it with --model_name_or_path.")
    return config["base_model_name_or_path"], config.get("revision")


def _hub_file(repository: str, file: str) -> Path | None:
    """Return a downloaded file of a Hub repository, or None if that repository has no such file."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file))
    except LocalEntryNotFoundError as error:  # no connection; a repository that is cached may be known not to have it
        if try_to_load_from_cache(repository, "config.json") or try_to_load_from_cache(repository, ADAPTER_CONFIG):
            return None
        reason = first_line(error)
        raise UserError(
            f"{repository} is not a local folder, and the Hub cannot be reached ({reason}); check the name."
        ) from None
    except EntryNotFoundError:
        return None
    except Exception as error:  # the client raises OSError, ValueError and bare transport errors for one thing
        reason = first_line(error)
        raise UserError(
            f"{repository} is neither a local folder nor readable on the Hub ({reason}); check the name and your login."
        ) from None


def adapter_folder(name: str) -> Path:
    """Return the local folder of an adapter; one on the Hub is downloaded.

    Raises:
        UserError: it cannot be had, or has no safetensors weights.
    """
    folder = Path(name)
    if (folder / "config.json").is_file() and not (folder / ADAPTER_CONFIG).is_file():
        raise UserError(
            f"{name} is a whole model, not an adapter, so that there is nothing to merge; "
            "give it to benchmarking.py and complete.py as it is."
        )
    if not folder.is_dir():
        config = _hub_file(name, ADAPTER_CONFIG)
        if config is None:
            raise UserError(f"{name} on the Hub holds no {ADAPTER_CONFIG}; name the repository train.py pushed to.")
        for file in ("adapter_model.safetensors", "tokenizer.json", "tokenizer_config.json", "manifest.json"):
            _hub_file(name, file)
        folder = config.parent
    if not (folder / "adapter_model.safetensors").is_file():
        raise UserError(f"{name} holds no adapter_model.safetensors; train.py writes one into its --output_dir.")
    return folder


def manifest_of(name: str) -> dict[str, Any]:
    """Return what the stage that wrote a model or adapter recorded, from its folder or from the Hub; {} if nothing."""
    if Path(name).is_dir():
        return read_manifest(Path(name))
    file = _hub_file(name, MANIFEST)
    return read_manifest(file.parent) if file else {}
