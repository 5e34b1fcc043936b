"""Data sets on the Hub as inputs of stage 2: the commit that is read, the licences, and the manifest of stage 1.

A data set on the Hub can change while it is read, or before it is read again. So its newest commit is found once,
everything is read from that one, and the manifest of the output records it.
"""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from codefit import hub_names, records
from codefit.errors import UserError
from codefit.manifest import read_manifest
from codefit.outputs import MANIFEST
from codefit.records import Document

HubInputs = Mapping[str, Mapping[str, Any]]  # by the name of the input: what `found` returns


def found(inputs: Iterable[str], output: Path) -> dict[str, dict[str, Any]]:
    """Return what the Hub says about each input there: its newest commit, its licences, the manifest of parse_data.py.

    If the Hub cannot be asked, what the manifest of an output says about the same inputs is returned, so that the
    command of a finished output needs no network.

    Raises:
        UserError: the Hub cannot be asked, or has no such data set.
    """
    names = [source for source in inputs if records.is_on_hub(source)]
    try:
        return {name: _asked(name) for name in names}
    except UserError:
        made: dict[str, dict[str, Any]] = read_manifest(output).get("hub") or {}
        if made.keys() != set(names):
            raise
        return made


def commit_of(manifest: Mapping[str, Any], source: str) -> str | None:
    """Return the commit of an input that a manifest of stage 2 records; None for a file."""
    commit: str | None = (manifest.get("hub") or {}).get(source, {}).get("commit")
    return commit


def documents(inputs: Sequence[str], hub: HubInputs, counts: Counter[str]) -> Iterator[Document]:
    """Yield the documents of all inputs, those on the Hub from their recorded commits, and count them by input."""
    taken: set[str] = set()
    for source in inputs:
        for document in records.read_documents(source, taken, commit_of({"hub": hub}, source)):
            counts[source] += 1
            yield document


def _asked(name: str) -> dict[str, Any]:
    from huggingface_hub import HfApi, hf_hub_download

    hub_names.reach_for(name)
    try:
        info = HfApi().dataset_info(name)
        manifest: dict[str, Any] = {}
        if any(file.rfilename == MANIFEST for file in info.siblings or []):
            path = hf_hub_download(name, MANIFEST, repo_type="dataset", revision=info.sha)
            with contextlib.suppress(UserError):  # a file of that name that is not codefit's
                manifest = read_manifest(Path(path).parent)
    except Exception as error:  # the client raises OSError, ValueError and bare transport errors
        raise records.unreadable(name, error) from None
    stated = info.card_data.get("license") if info.card_data else None
    licences = [stated] if isinstance(stated, str) else [each for each in stated or [] if isinstance(each, str)]
    return {"commit": info.sha, "licences": licences, "made_by": manifest if manifest.get("sources") else None}
