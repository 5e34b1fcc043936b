"""The origin of a data set or model, from the manifests of the stages, in the terms of the Hub."""

import collections
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from codefit import model_files, records
from codefit.manifest import GgufOrigin, Source, read_manifest
from codefit.modeling import hub_files

# The identifiers in huggingface.co/docs/hub/repositories-licenses that are common for code.
HUB_LICENCES = """
    afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0
    cc-by-4.0 cc-by-sa-4.0 cc0-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.2 gemma gpl-2.0 gpl-3.0 isc lgpl-2.1 lgpl-3.0 llama2
    llama3 mit mpl-2.0 ms-pl ncsa ofl-1.1 openrail osl-3.0 other postgresql unlicense wtfpl zlib
"""


HUB = "data set on the Hub"  # the kind of a source that parse_data.py did not read


def base_model(folder: Path) -> tuple[str, str]:
    """Return name and revision of the base of an adapter or merged model; ("", "") for a model from scratch."""
    config = folder / model_files.ADAPTER_CONFIG
    if config.is_file():
        content = model_files.adapter_config(config)
        return content.base_model_name_or_path or "", content.revision or ""
    manifest = read_manifest(folder)
    return manifest.get("base_model") or "", manifest.get("base_revision") or ""


def gguf_base(folder: Path) -> GgufOrigin | None:
    """Return the GGUF file that the base of an adapter or model was dequantised from; None for any other base."""
    found = read_manifest(folder).get("base_gguf")
    return msgspec.convert(found, GgufOrigin) if found else None


def hub_id(name: str) -> str:
    """Return a name if it is a Hub id, "" if it is a local path: one that exists, or in codefit's folders."""
    local = Path(name).exists() or name.startswith(("data/", "outputs/"))
    return name if hub_files.is_hub_id(name) and not local else ""


def hub_licence(spdx: str) -> str:
    """Return the Hub's identifier for an SPDX one: GPL-3.0-or-later is gpl-3.0, one that it does not list is other."""
    name = spdx.lower().removesuffix("-only").removesuffix("-or-later").removesuffix("+")
    return name if name in HUB_LICENCES.split() else "other"


def parsed(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the manifests of parse_data.py for the inputs of a prepared data set, in files and on the Hub."""
    on_hub = [found["made_by"] for found in (manifest.get("hub") or {}).values() if found.get("made_by")]
    return [*(read_manifest(Path(path)) for path in manifest.get("inputs", {})), *on_hub]


def sources(manifest: dict[str, Any]) -> list[Source]:
    """Return the sources of a prepared data set; a data set of somebody else on the Hub is one source."""
    read = [source for stage_1 in parsed(manifest) for source in parsed_sources(stage_1)]
    counts = manifest.get("documents_of", {})
    foreign = [
        Source(name, HUB, found["commit"], " AND ".join(found["licences"]), counts.get(name, 0))
        for name, found in (manifest.get("hub") or {}).items()
        if not found.get("made_by")
    ]
    return read + foreign


def parsed_sources(stage_1: dict[str, Any]) -> list[Source]:
    """Return the sources that a manifest of parse_data.py lists."""
    return [msgspec.convert(source, Source) for source in stage_1.get("sources", [])]


def licences(sources: Iterable[Source]) -> list[str]:
    """Return the Hub's identifiers of the licences of sources, sorted."""
    stated = [source.license.split(" AND ") if source.kind == HUB else [source.license] for source in sources]
    return sorted({hub_licence(licence) for each in stated for licence in each if licence})


def splits(folder: Path) -> dict[str, int]:
    """Return the number of rows of each split."""
    paths = {split: folder / f"{split}.jsonl" for split in records.SPLITS}
    return {split: _lines(path) for split, path in paths.items() if path.is_file()}


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def rejections(folder: Path) -> list[tuple[str, str, int]]:
    """Return (stage, reason, count) for everything rejected or skipped between the sources and the pairs."""
    manifest = read_manifest(folder)
    rows = [
        ("files, parse_data.py", rule, count)
        for stage_1 in parsed(manifest)
        for rule, count in stage_1.get("rejections", {}).items()
    ]
    path = folder / "rejected.jsonl"
    if path.is_file():
        rules = collections.Counter(str(row.get("rule", "unknown")) for _, row in records.read_rows(path))
        rows += [("files, preprocess_data.py", rule, count) for rule, count in rules.most_common()]
    skipped: collections.Counter[str] = collections.Counter()
    for split in manifest.get("splits", {}).values():
        skipped.update(split.get("skipped", {}))
    return rows + [("pairs", rule, count) for rule, count in skipped.most_common()]


def languages(manifest: dict[str, Any]) -> list[str]:
    """Return the programming languages of a prepared data set that the flags of its stages name."""
    asked = [stage.get("arguments", {}).get("language") or [] for stage in (manifest, *parsed(manifest))]
    return list(dict.fromkeys(name for names in asked for name in names))
