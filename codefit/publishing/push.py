"""Pushes to the Hub: check before long work whether a push can succeed, and push a folder as one commit.

Everything is saved locally before a push begins. A failed push is an error of one sentence with the command that
continues it. Pushing files that are already there makes no commit.
"""

import contextlib
import dataclasses
import functools
import shlex
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from codefit import console, records
from codefit.curation import secrets
from codefit.errors import UserError
from codefit.manifest import note_repository
from codefit.model_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, CONFIG, GENERATION_CONFIG, INDEX
from codefit.modeling import hub_files
from codefit.outputs import MANIFEST, manifest_of, write_whole
from codefit.publishing import cards, hub_client, provenance
from codefit.publishing.hub_client import Kind
from codefit.temporary import temporary_folder

if TYPE_CHECKING:
    from huggingface_hub import HfApi

# Only safetensors are pushed as weights. These are pickles, files that only training needs, and text of the data.
NEVER_PUSHED = (
    *("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "checkpoint-*/*", "runs/*"),
    *("predictions.jsonl", "predictions.html"),
)
UNFINISHED = "unfinished"  # folder of a repository with the checkpoint of a run; see checkpoints.py
# The files that make the root of a repository a model. An adapter next to full weights would be loaded as one model.
ROOT_OF_A_MODEL = (
    *(CONFIG, GENERATION_CONFIG, "model*.safetensors", INDEX),
    *(ADAPTER_CONFIG, ADAPTER_WEIGHTS),
    f"{UNFINISHED}/*",
)


def check_repository(repo_id: str, kind: Kind, *, private: bool | None = None, create: bool = True) -> None:
    """Check that a later push can succeed; the repository is created if it does not exist.

    Args:
        repo_id: `owner/name` on the Hub.
        kind: "model" or "dataset".
        private: the visibility that the repository must have; None accepts either, and the Hub's default for a new one.
        create: False changes nothing on the Hub; a repository that does not exist is not checked then.

    Raises:
        UserError: the id is not valid, there is no token, it is not accepted or may not write to the repository, or
            the visibility of the repository is not as requested.
    """
    check_id(repo_id)

    def ask() -> None:
        api = hub_client.connect()
        hub_client.patiently(lambda: hub_client.refuse_reader(api, repo_id))
        if create or hub_client.patiently(lambda: api.repo_exists(repo_id, repo_type=kind)):
            hub_client.patiently(lambda: hub_client.open_repository(api, repo_id, kind, private))
            hub_client.patiently(lambda: hub_client.try_writing(api, repo_id, kind))

    hub_client.explained(ask, repo_id, f"cannot push to {repo_id}", "nothing was started.")


def check_id(repo_id: str) -> None:
    """Raise UserError unless a text is a valid repository id."""
    if repo_id.count("/") != 1 or not hub_files.is_hub_id(repo_id):
        raise UserError(
            f"{repo_id!r} is not a valid Hub id; write it as owner/name, "
            "with letters, digits and single '-', '_' or '.' only."
        )


def push_documents(output: Path, rejected: Path, repo_id: str, *, private: bool | None = None) -> str:
    """Scan a file of documents for secrets, write its card, push both with the rejections and the manifest.

    Args:
        output: written by parse_data.py.
        rejected: its list of rejected files.
        repo_id: `owner/name` on the Hub.
        private: as for `check_repository`.

    Returns:
        The URL of the commit.

    Raises:
        UserError: a document contains a secret (nothing is pushed), or the push failed.
    """
    documents = records.read_documents(str(output))
    found = [(document, kind) for document in documents if (kind := secrets.kind_of_secret(document.content))]
    if found:
        document, kind = found[0]
        more = f" (and {len(found) - 1} more files with secrets)" if len(found) > 1 else ""
        raise UserError(
            f"{document.repository}/{document.path} contains what looks like a {kind}{more}, so nothing was pushed; "
            "revoke it and remove it from the source, or push only the pairs, in which preprocess_data.py redacts it."
        )
    named = {f"documents{output.suffix}": output, "rejected.jsonl": rejected, MANIFEST: manifest_of(output)}
    with temporary_folder() as folder:
        for name, path in named.items():
            (folder / name).symlink_to(path.resolve())
        _write_card(folder, cards.documents_card(folder, repo_id))
        message = "Documents parsed with codefit"
        push = Push(folder, repo_id, "dataset", message, private, replaced=("documents.jsonl", "documents.parquet"))
        saved = "it is saved; run the same command again, and only the push is repeated."
        return hub_client.explained(push.make, repo_id, f"{output} was not pushed to {repo_id}", saved)


def push_dataset(folder: Path, repo_id: str, *, private: bool | None = None) -> str:
    """Scan a prepared data set for secrets, write its card, push it; return the URL of the commit.

    Raises:
        UserError: a file contains a secret (nothing is pushed), or the push failed.
    """
    findings = list(secrets.scan(folder))
    if findings:
        first = findings[0]
        more = f" (and {len(findings) - 1} more lines with secrets)" if len(findings) > 1 else ""
        raise UserError(
            f"{folder / first.path}:{first.line} contains what looks like a {first.kind}{more}, so nothing was pushed; "
            "revoke it, remove it from the source and run the stages again."
        )
    note_repository(folder, repo_id)
    _write_card(folder, cards.dataset_card(folder, repo_id))
    return push_folder(folder, repo_id, "dataset", message="Data set prepared with codefit", private=private)


def push_adapter(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    scores: Sequence[cards.BenchmarkRow] = (),
) -> str:
    """Write the card of an adapter folder and push it; return the URL of the commit.

    Full weights at the root of the repository are removed; its history keeps them.

    Raises:
        UserError: the folder is not an adapter, or the push failed.
    """
    _require(folder, ADAPTER_CONFIG, ADAPTER_WEIGHTS, made_by="train.py")
    _write_card(folder, cards.adapter_card(folder, repo_id, scores, _licence_of_base(folder)))
    message = "Adapter trained with codefit"
    return push_folder(folder, repo_id, "model", message=message, private=private, replaced=ROOT_OF_A_MODEL)


def push_merged(
    folder: Path,
    repo_id: str,
    *,
    adapter: Path | None = None,
    private: bool | None = None,
    scores: Sequence[cards.BenchmarkRow] = (),
) -> str:
    """Write the card of a full model and push it; return the URL of the commit.

    Args:
        folder: written by merge_lora.py, or by train.py with --from_scratch.
        repo_id: `owner/name` on the Hub.
        adapter: the folder of the adapter that was merged; it is pushed first, into `adapter/`. An adapter at the
            root of the repository is removed.
        private: as for `check_repository`.
        scores: rows of the comparison with the base model, for the card.

    Raises:
        UserError: the folder is not a full model, or the push failed.
    """
    _require(folder, CONFIG, "model*.safetensors", "tokenizer*", made_by="merge_lora.py")
    licence = _licence_of_base(adapter or folder)
    _write_card(folder, cards.merged_card(folder, repo_id, scores, licence, adapter))
    message = "Model made with codefit"
    pushes = [Push(folder, repo_id, "model", message, private, replaced=ROOT_OF_A_MODEL)]
    if adapter:
        _require(adapter, ADAPTER_CONFIG, ADAPTER_WEIGHTS, made_by="train.py")
        pushes.insert(0, Push(adapter, repo_id, "model", message, private, "adapter", ignored=["README.md"]))
    return _push(pushes)


def push_gguf(folder: Path, repo_id: str, *, merged: str, model: Path, private: bool | None = None) -> str:
    """Write the card of a folder of GGUF files and push it; return the URL of the commit.

    Args:
        folder: written by merge_lora.py with --gguf.
        repo_id: `owner/name` on the Hub.
        merged: the repository of the model that was converted.
        model: the folder of that model, or of its adapter.
        private: as for `check_repository`.

    Raises:
        UserError: the folder has no GGUF file, or the push failed.
    """
    _require(folder, "*.gguf", "Modelfile", made_by="merge_lora.py --gguf")
    _write_card(folder, cards.gguf_card(folder, repo_id, merged, _licence_of_base(model)))
    return push_folder(folder, repo_id, "model", message="GGUF files made with codefit", private=private)


def push_folder(
    folder: Path,
    repo_id: str,
    kind: Kind,
    *,
    message: str,
    private: bool | None = None,
    path_in_repo: str | None = None,
    ignored: Sequence[str] = (),
    replaced: Sequence[str] = (),
    never: Sequence[str] = NEVER_PUSHED,
) -> str:
    """Push a folder as one commit and return its URL; the arguments are those of `Push`.

    Raises:
        UserError: the push failed; the message has the reason and the command to continue with.
    """
    return _push([Push(folder, repo_id, kind, message, private, path_in_repo, ignored, replaced, never)])


@dataclasses.dataclass(frozen=True, slots=True)
class Push:
    """A commit to make.

    Attributes:
        folder: the files; pickles, checkpoints and optimizer states are left out, and listed on stderr.
        repo_id: `owner/name` on the Hub; created if it does not exist.
        kind: "model" or "dataset".
        message: the message of the commit.
        private: as for `check_repository`.
        path_in_repo: the folder in the repository; None is its root.
        ignored: patterns of further files to leave out.
        replaced: patterns of files to remove from the repository unless they are pushed.
        never: patterns of files that a push leaves out by rule.
    """

    folder: Path
    repo_id: str
    kind: Kind
    message: str
    private: bool | None = None
    path_in_repo: str | None = None
    ignored: Sequence[str] = ()
    replaced: Sequence[str] = ()
    never: Sequence[str] = NEVER_PUSHED

    def make(self) -> str:
        """Make the commit, with retries of temporary failures, and return its URL."""
        return hub_client.patiently(functools.partial(self.attempt, hub_client.connect()))

    def attempt(self, api: "HfApi") -> str:
        """Open the repository, upload the files that it lacks, commit; return the URL of the commit."""
        commit = api.upload_folder(
            folder_path=self.folder,
            path_in_repo=self.path_in_repo,
            repo_id=self.repo_id,
            repo_type=self.kind,
            commit_message=self.message,
            ignore_patterns=self.patterns_left_out(),
            delete_patterns=self.patterns_removed() or None,
            # naming the parent prevents a second commit if the answer to the first was lost
            parent_commit=hub_client.open_repository(api, self.repo_id, self.kind, self.private),
        )
        return commit.commit_url

    def command(self) -> str:
        """Return the command that does the same without codefit."""
        words = ["hf", "upload", self.repo_id, str(self.folder), self.path_in_repo or "."]
        words += ["--repo-type", self.kind, "--commit-message", self.message, *["--private"] * bool(self.private)]
        words += [f"--exclude={pattern}" for pattern in self.patterns_left_out()]
        words += [f"--delete={pattern}" for pattern in self.patterns_removed()]
        return shlex.join(words)

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def left_out(self) -> list[str]:
        patterns = self.patterns_left_out()
        return [file for file in self.files() if any(fnmatch(file, pattern) for pattern in patterns)]

    def patterns_left_out(self) -> list[str]:
        files = self.files()
        return [p for p in (*self.never, *self.ignored) if any(fnmatch(file, p) for file in files)]

    def patterns_removed(self) -> list[str]:
        return [pattern for pattern in self.replaced if not (self.folder / pattern).exists()]


def _push(pushes: Sequence[Push]) -> str:
    """Make the commits in order and return the URL of the last. Raises UserError at the first that fails."""
    url = ""
    for push in pushes:
        check_id(push.repo_id)
        left_out = push.left_out()
        if len(left_out) == len(push.files()):
            raise UserError(f"{push.folder} has nothing to push; give the output folder of a stage.")
        if left_out:
            console.show(f"left out of the push: {_some(left_out)}", file=sys.stderr)
    for number, push in enumerate(pushes):
        commands = " && ".join(rest.command() for rest in pushes[number:])
        saved = f"all files are saved in that folder; continue with: {commands}"
        what = f"{push.folder} was not pushed to {push.repo_id}"
        url = hub_client.explained(push.make, push.repo_id, what, saved)
    return url


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _require(folder: Path, *patterns: str, made_by: str) -> None:
    for pattern in patterns:
        if not any(folder.glob(pattern)):
            raise UserError(f"{folder} has no {pattern}; give the folder that {made_by} wrote.")


def _write_card(folder: Path, text: str) -> None:
    write_whole(folder / "README.md", text)


def _licence_of_base(folder: Path) -> str:
    """Return the licence that the card or the GGUF file of the base states, "" if it is not available."""
    if gguf := provenance.gguf_base(folder):
        return gguf.licence
    base = provenance.hub_id(provenance.base_model(folder)[0])
    if not base:
        return ""
    with contextlib.suppress(hub_client.Refusal, *hub_client.errors()):
        card = hub_client.connect().model_info(base).card_data
        licence = card.get("license") if card else None
        return str(licence[0] if isinstance(licence, list) else licence or "")
    return ""
