"""The manifest of every output: the command, inputs, versions and counts that produced it."""

import contextlib
import hashlib
import json
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from codefit import git_command, json_files
from codefit.console import masked
from codefit.json_files import Count
from codefit.outputs import MANIFEST, manifest_of, write_whole

Name = Annotated[str, Meta(pattern=r"^[\w.-]*$")]  # part of a file name

ROOT = Path(__file__).resolve().parent.parent


def command() -> str:
    """Return the running command in a form that can be run again."""
    return shlex.join(["python", sys.argv[0], *map(masked, sys.argv[1:])])


class Arguments(msgspec.Struct):
    """The arguments of an earlier stage that later stages read."""

    hf_repository: str | list[str] | None = None
    max_prompt_tokens: Count | None = None
    language: str | list[str] | None = None
    split: str | None = None
    seed: int | None = None


class Source(msgspec.Struct):
    """A source of a data set."""

    name: str = ""
    kind: str = ""
    commit: str = ""
    license: str = ""
    documents: int = 0


class Split(msgspec.Struct):
    """What was skipped in a split, by reason."""

    skipped: dict[str, int] = {}


class Validation(msgspec.Struct):
    """The last validation of a training run."""

    eval_loss: float | None = None


class Model(msgspec.Struct):
    """A model of a benchmark."""

    name: str
    label: str
    validation_loss: float | None = None


class Benchmark(msgspec.Struct):
    """The prompts and settings of a benchmark, by role."""

    title: str
    format: Name = "pairs"
    forgetting: bool = False
    decoding: dict[str, dict[str, str]] = {}


class ManifestFile(msgspec.Struct):
    """The fields of a manifest that later stages read; a manifest of another stage or version may lack them."""

    command: list[str] = []
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    toolkit_commit: str | None = None
    versions: dict[str, str] = {}
    inputs: dict[str, str] = {}
    seconds: float = 0.0
    base_model: str | None = None
    base_revision: str | None = None
    load_in_4bit: bool | None = None
    dtype: Literal["torch.float32", "torch.bfloat16", "torch.float16", "float32", "bfloat16", "float16"] | None = None
    dataset: str | None = None
    max_prompt_tokens: Count | None = None
    replay: str | None = None
    validation: Validation | None = None
    adapter_sha256: str | None = None
    sources: list[Source] = []
    rejections: dict[str, int] = {}
    splits: dict[str, Split] = {}
    models: dict[Name, Model] = {}
    benchmarks: dict[Name, Benchmark] = {}
    predicted_by: "ManifestFile | None" = None
    compared: "list[ManifestFile]" = []
    made_of: dict[str, str] = {}
    files: int | list[str] = []
    infill: str | None = None
    context: Count | None = None


class Manifest:
    """The record of a run: started with the command, updated along the way, written with the output."""

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self.started = time.monotonic()
        self.content: dict[str, Any] = {
            "command": [Path(sys.argv[0]).name, *map(masked, sys.argv[1:])],
            "arguments": {key: _without_secrets(_plain(value)) for key, value in arguments.items()},
            "toolkit_commit": toolkit_commit(),
            "versions": versions(),
            "inputs": {},
        }

    def add_input(self, path: Path) -> None:
        """Record an input file with its sha256."""
        self.content["inputs"][str(path)] = sha256(path)

    def update(self, **facts: Any) -> None:
        """Record facts such as counts by reason."""
        self.content.update({key: _plain(value) for key, value in facts.items()})

    def write(self, path: Path) -> None:
        """Write the manifest into the folder of an output, as `manifest.json`."""
        self.content["seconds"] = round(time.monotonic() - self.started, 2)
        text = json.dumps(self.content, indent=2, ensure_ascii=False, default=str)
        write_whole(path / MANIFEST, text + "\n")


def read_manifest(output: Path) -> dict[str, Any]:
    """Return the manifest of an output of an earlier stage, or {} if the output is not from codefit."""
    path = manifest_of(output)
    if not path.is_file():
        return {}
    remedy = f"run the stage that wrote {output} again, with --overwrite, or remove a manifest that is not codefit's"
    content = json_files.load(path, remedy)
    json_files.checked(content, ManifestFile, str(path), remedy)
    return dict(content)


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def toolkit_commit() -> str | None:
    """Return the commit of codefit, with "-dirty" if its files differ from it; None outside git."""
    try:
        head, status = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "-uno")
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.strip() + ("-dirty" if status else "")


def _git(*words: str) -> str:
    # Without a repository of its own, codefit must not be taken as part of the one it was unpacked in.
    ours = git_command.environment(GIT_CEILING_DIRECTORIES=str(ROOT.parent))
    command = ["git", "-C", str(ROOT), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=ours).stdout


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    import importlib.metadata  # slow to import, and not needed for --help

    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "peft", "bitsandbytes", "datasets", "tokenizers", "sacrebleu", "RapidFuzz"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _without_secrets(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_secrets(item) for item in value]
    return masked(value) if isinstance(value, str) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
