"""The manifest of every output: the command, inputs, versions and counts that produced it."""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from codefit import console, git_command, json_files
from codefit.console import masked
from codefit.errors import UserError
from codefit.json_files import Count
from codefit.outputs import MANIFEST, manifest_of, write_whole

Name = Annotated[str, Meta(pattern=r"^[\w.-]*$")]  # part of a file name

ROOT = Path(__file__).resolve().parent.parent

OF_ONE_RUN = {"overwrite", "dry_run"}  # arguments that do not change what a finished output contains
PUSHING = ("hf_repository", "private")  # arguments of a stage that only say where a finished output is pushed to
LARGE = 64 << 20  # bytes: larger files in a folder count by size and date, since reading them takes long


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


class GgufOrigin(msgspec.Struct):
    """The GGUF file that a base was dequantised from; `licence` is an SPDX id or "", as the file states it."""

    file: str = ""
    sha256: str = ""
    quantisation: str = ""
    licence: str = ""


class Benchmark(msgspec.Struct):
    """The prompts and settings of a benchmark, by role."""

    title: str
    format: Name = "pairs"
    forgetting: bool = False
    decoding: dict[str, dict[str, str]] = {}


class HubInput(msgspec.Struct):
    """A data set on the Hub that stage 2 read: its commit, the licences of its card, the manifest of stage 1 in it."""

    commit: str = ""
    licences: list[str] = []
    made_by: "ManifestFile | None" = None


class ManifestFile(msgspec.Struct):
    """The fields of a manifest that later stages read; a manifest of another stage or version may lack them."""

    command: list[str] = []
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    toolkit_commit: str | None = None
    versions: dict[str, str] = {}
    inputs: dict[str, str] = {}
    folders: dict[str, str] = {}
    seconds: float = 0.0
    base_model: str | None = None
    base_revision: str | None = None
    base_gguf: GgufOrigin | None = None
    load_in_4bit: bool | None = None
    dtype: Literal["torch.float32", "torch.bfloat16", "torch.float16", "float32", "bfloat16", "float16"] | None = None
    dataset: str | None = None
    max_prompt_tokens: Count | None = None
    replay: str | None = None
    validation: Validation | None = None
    adapter_sha256: str | None = None
    sources: list[Source] = []
    hub: dict[str, HubInput] = {}
    documents_of: dict[str, int] = {}
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
            "folders": {},
        }

    def add_input(self, path: Path) -> None:
        """Record an input file with its sha256."""
        self.content["inputs"][str(path)] = sha256(path)

    def add_model(self, name: str | None) -> None:
        """Record the folder or file of a model that is read; a model of the Hub has none."""
        path = Path(name or "").expanduser()
        if name and path.is_dir():
            self.content["folders"][str(path)] = digest_of_folder(path)
        elif name and path.is_file():
            self.add_input(path)

    def repeats(self, output: Path, besides: Collection[str] = (), **facts: Any) -> bool:
        """Return whether this command has nothing to do: the same one made the output from inputs that did not change.

        Args:
            output: the output of this command.
            besides: names of arguments that may differ.
            facts: further facts that must be as they are recorded in the manifest of the output.
        """
        try:
            made = read_manifest(output)
        except UserError:  # damaged; the stage itself will say so
            return False
        made = made.get("predicted_by") or made  # scores that were computed again are still those of the first command
        asked = {**self.content, **{key: _plain(value) for key, value in facts.items()}}
        asked = json.loads(json.dumps(asked, default=str))
        if not made or not _is_same(made, asked, besides, facts):
            return False
        unchanged = _unchanged(made.get("inputs", {}), sha256) and _unchanged(made.get("folders", {}), digest_of_folder)
        if unchanged:
            console.show(
                f"{output} is complete: the same command made it from the same inputs; add --overwrite to make it again"
            )
        return unchanged

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


def note_repository(folder: Path, repo_id: str) -> None:
    """Record in the manifest of a finished output where it is pushed to, since later stages read that from it."""
    content = read_manifest(folder)
    arguments = content.get("arguments") or {}
    if content and arguments.get("hf_repository") != repo_id:
        text = json.dumps(
            {**content, "arguments": {**arguments, "hf_repository": repo_id}}, indent=2, ensure_ascii=False
        )
        write_whole(folder / MANIFEST, text + "\n")


def sha256(path: Path) -> str:
    """Return the hex sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def digest_of_folder(folder: Path) -> str:
    """Return the hex sha256 of the names and contents of a folder's files.

    Hidden files are left out, and the card, which a push writes again.
    """
    digest = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".") and name != "README.md"):
            path = Path(place, name)
            about = path.stat()
            content = sha256(path) if about.st_size <= LARGE else f"{about.st_size} bytes of {about.st_mtime_ns}"
            digest.update(f"{path.relative_to(folder)} {content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _is_same(made: Mapping[str, Any], asked: Mapping[str, Any], besides: Iterable[str], facts: Iterable[str]) -> bool:
    """Return whether two runs were asked to do the same: their script, their arguments, and further facts.

    An argument that one of the two versions of codefit does not know yet must not be used by the other.
    """
    scripts = [[Path(word).name for word in run.get("command", [])[:1]] for run in (made, asked)]
    one, other = ({**(run.get("arguments") or {}), **dict.fromkeys([*OF_ONE_RUN, *besides])} for run in (made, asked))
    shared = one.keys() & other.keys()
    alone = [value for run in (one, other) for name, value in run.items() if name not in shared]
    return (
        scripts[0] == scripts[1]
        and all(one[name] == other[name] for name in shared)
        and all(value is None or value is False for value in alone)
        and all(made.get(name) == asked.get(name) for name in facts)
    )


def _unchanged(recorded: Mapping[str, str], digest: Callable[[Path], str]) -> bool:
    """Return whether every input still exists and has the digest that a manifest records."""
    try:
        return all(digest(Path(path)) == before for path, before in recorded.items())
    except OSError:
        return False


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
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value
