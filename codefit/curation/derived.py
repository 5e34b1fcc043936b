"""A data set that is made from another one: its training pairs are new, and everything else stays as it is."""

import shutil
from pathlib import Path
from typing import Any

from codefit import records
from codefit.manifest import Manifest, read_manifest

KEPT = ("validation.jsonl", "test.jsonl", "test_overlap.jsonl", "forgetting.jsonl", records.DOCUMENTS, records.HISTORY)


def carried_arguments(folder: Path) -> dict[str, Any]:
    """Return the arguments of a data set that later stages read from the manifest of any data set."""
    prepared = read_manifest(folder).get("arguments", {})
    return {name: prepared[name] for name in ("max_prompt_tokens", "language") if name in prepared}


def copy_others(folder: Path, work: Path, manifest: Manifest) -> None:
    """Copy the other splits and the files of the repositories; record them and the training pairs as inputs."""
    for name in KEPT:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, work / name)
            manifest.add_input(folder / name)
    manifest.add_input(folder / "train.jsonl")
