"""The Hub: find out before long work whether a push can succeed, and push a folder as one commit.

Everything is saved locally before a push begins. A push that fails is an error of one sentence with the command that
continues it; pushing again what is already there makes no commit.
"""

import contextlib
import shlex
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from codefit import cards, hub_client
from codefit.cli import UserError
from codefit.curation import secrets
from codefit.hub_client import Kind

# Weights travel as safetensors only. These are pickles and what training keeps for itself.
NEVER_PUSHED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "checkpoint-*/*", "runs/*")
# What makes the root of a repository a model. An adapter and whole weights side by side would be loaded as one model.
ROOT_OF_A_MODEL = (
    *("config.json", "generation_config.json", "model*.safetensors", "model.safetensors.index.json"),
    *("adapter_config.json", "adapter_model.safetensors"),
)


def preflight(repo_id: str, kind: Kind, *, private: bool | None = None) -> None:
    """Make sure that a later push can succeed; the repository is created if it is not there yet.

    Args:
        repo_id: `owner/name` on the Hub.
        kind: "model" or "dataset".
        private: what the repository must be; None takes it as it is, and the Hub's default for a new one.

    Raises:
        UserError: the id is not valid, there is no token, it is not accepted or may not write to the repository, or
            the repository exists and is not as private as was asked.
    """
    check_id(repo_id)
    with hub_client.explained(repo_id, f"cannot push to {repo_id}", "nothing was started."):
        api = hub_client.connect()
        hub_client.patiently(lambda: hub_client.refuse_reader(api, repo_id))
        hub_client.patiently(lambda: hub_client.open_repository(api, repo_id, kind, private))
        hub_client.patiently(lambda: hub_client.try_writing(api, repo_id, kind))


def check_id(repo_id: str) -> None:
    """Raise UserError unless a text can be the id of a repository."""
    if repo_id.count("/") != 1 or not cards.valid_id(repo_id):
        raise UserError(
            f"{repo_id!r} cannot be a repository on the Hub; write it as owner/name, "
            "with letters, digits and single '-', '_' or '.' only."
        )


def push_dataset(folder: Path, repo_id: str, *, private: bool | None = None) -> str:
    """Scan a prepared data set for secrets, write its card, push it; return the URL of the commit.

    Raises:
        UserError: a file holds a secret (nothing is pushed), or the push failed.
    """
    findings = list(secrets.scan(folder))
    if findings:
        first = findings[0]
        more = f" (and {len(findings) - 1} more lines with secrets)" if len(findings) > 1 else ""
        raise UserError(
            f"{folder / first.path}:{first.line} holds what looks like a {first.kind}{more}, so nothing was pushed; "
            "revoke it, remove it from the source and run the stages again."
        )
    _write_card(folder, cards.dataset_card(folder, repo_id))
    return push_folder(folder, repo_id, "dataset", message="Data set prepared with codefit", private=private)


def push_adapter(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    scores: Sequence[cards.Score] = (),
    prompt_format: str = cards.PREFIX,
) -> str:
    """Write the card of an adapter folder and push it; return the URL of the commit.

    Whole weights at the root of the repository give way; its history keeps them.

    Raises:
        UserError: the folder is not an adapter, or the push failed.
    """
    _require(folder, "adapter_config.json", "adapter_model.safetensors", made_by="train.py")
    _write_card(folder, cards.adapter_card(folder, repo_id, scores, prompt_format, _licence_of_base(folder)))
    message = "Adapter trained with codefit"
    return push_folder(folder, repo_id, "model", message=message, private=private, replaced=ROOT_OF_A_MODEL)


def push_merged(
    folder: Path,
    repo_id: str,
    *,
    adapter: Path | None = None,
    private: bool | None = None,
    scores: Sequence[cards.Score] = (),
    prompt_format: str = cards.PREFIX,
) -> str:
    """Write the card of a whole model and push it; return the URL of the commit.

    Args:
        folder: what merge_lora.py wrote, or train.py with --from_scratch.
        repo_id: `owner/name` on the Hub.
        adapter: the folder of the adapter that was merged; it is pushed first, into `adapter/`. An adapter at the
            root of the repository gives way.
        private: as for `preflight`.
        scores: rows of the comparison with the base model, for the card.
        prompt_format: how a prompt is built from `{prefix}` and `{suffix}`, for the card.

    Raises:
        UserError: the folder is not a whole model, or the push failed.
    """
    _require(folder, "config.json", "model*.safetensors", "tokenizer*", made_by="merge_lora.py")
    licence = _licence_of_base(adapter or folder)
    _write_card(folder, cards.merged_card(folder, repo_id, scores, prompt_format, licence, adapter))
    options: dict[str, Any] = {"message": "Model made with codefit", "private": private}
    if adapter:
        _require(adapter, "adapter_config.json", "adapter_model.safetensors", made_by="train.py")
        push_folder(adapter, repo_id, "model", **options, path_in_repo="adapter", ignored=["README.md"])
    return push_folder(folder, repo_id, "model", **options, replaced=ROOT_OF_A_MODEL)


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
) -> str:
    """Push a folder as one commit and return its URL; what the repository already has is not sent again.

    Args:
        folder: the files; pickles, checkpoints and optimizer states among them are left out, and named on stderr.
        repo_id: `owner/name` on the Hub; created if it is not there.
        kind: "model" or "dataset".
        message: the message of the commit.
        private: as for `preflight`.
        path_in_repo: the folder in the repository; its root when None.
        ignored: patterns of further files to leave out.
        replaced: patterns of files that are removed from the repository unless they are pushed.

    Raises:
        UserError: the push failed; says why, and with which command to continue.
    """
    check_id(repo_id)
    ignored = _left_out(folder, (*NEVER_PUSHED, *ignored))
    replaced = [pattern for pattern in replaced if not (folder / pattern).exists()]

    def attempt() -> str:
        commit = api.upload_folder(
            folder_path=folder,
            path_in_repo=path_in_repo,
            repo_id=repo_id,
            repo_type=kind,
            commit_message=message,
            ignore_patterns=list(ignored),
            delete_patterns=list(replaced) or None,
            # with its parent named, a commit whose answer was lost is not made a second time
            parent_commit=hub_client.open_repository(api, repo_id, kind, private),
        )
        return commit.commit_url

    words = [
        "hf",
        "upload",
        repo_id,
        str(folder),
        path_in_repo or ".",
        "--repo-type",
        kind,
        "--commit-message",
        message,
    ]
    words += ["--private"] * bool(private)
    words += [f"--exclude={pattern}" for pattern in ignored] + [f"--delete={pattern}" for pattern in replaced]
    saved = f"all files are safe in that folder; continue with: {shlex.join(words)}"
    with hub_client.explained(repo_id, f"{folder} was not pushed to {repo_id}", saved):
        api = hub_client.connect()
        return hub_client.patiently(attempt)


def _left_out(folder: Path, patterns: Sequence[str]) -> list[str]:
    """Return those patterns that files of the folder match, and say which files. Raises UserError if none remains."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    matching = [pattern for pattern in patterns if any(fnmatch(file, pattern) for file in files)]
    left_out = [file for file in files if any(fnmatch(file, pattern) for pattern in matching)]
    if len(left_out) == len(files):
        raise UserError(f"{folder} holds nothing to push; give the folder that a stage wrote.")
    if left_out:
        print(f"left out of the push: {', '.join(left_out)}", file=sys.stderr)
    return matching


def _require(folder: Path, *patterns: str, made_by: str) -> None:
    for pattern in patterns:
        if not any(folder.glob(pattern)):
            raise UserError(f"{folder} holds no {pattern}; give the folder that {made_by} wrote.")


def _write_card(folder: Path, text: str) -> None:
    (folder / "README.md").write_text(text, encoding="utf-8", newline="\n")


def _licence_of_base(folder: Path) -> str:
    """Return the licence that the base model's own card states, "" where it cannot be had."""
    base = cards.hub_id(cards.base_model(folder)[0])
    if not base:
        return ""
    with contextlib.suppress(hub_client.Refusal, *hub_client.errors()):
        card = hub_client.connect().model_info(base).card_data
        licence = card.get("license") if card else None
        return str(licence[0] if isinstance(licence, list) else licence or "")
    return ""
