"""The SPDX id of a source, or of each package in a folder of installed ones, from licence files or metadata."""

import contextlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.metadata import parse_email

from codefit.sources.source import Member, Source

MAX_BYTES = 100_000
MAX_RECORD = 64 << 20  # bytes of a package's list of files
LICENCE_FILE = re.compile(
    r"(?:(?:licen[cs]es?|[^/]+\.dist-info(?:/licen[cs]es)?)/)?(?:un)?(?:licen[cs]e|copying)[^/]*", re.I
)
CORE_METADATA = re.compile(r"PKG-INFO|[^/]+\.dist-info/METADATA")  # packaging.python.org/specifications/core-metadata

# Every phrase of a row must occur, ignoring white space and case; the first matching row counts.
PHRASES = (
    ("AGPL-3.0", "gnu affero general public license"),
    ("LGPL-3.0", "gnu lesser general public license version 3"),
    ("LGPL-2.1", "gnu lesser general public license version 2.1"),
    ("GPL-3.0", "gnu general public license version 3"),
    ("GPL-2.0", "gnu general public license version 2"),
    ("Apache-2.0", "apache license version 2.0"),
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("MPL-2.0", "mozilla public license, version 2.0"),
    ("EPL-2.0", "eclipse public license - v 2.0"),
    ("EPL-1.0", "eclipse public license - v 1.0"),
    ("Python-2.0", "python software foundation license version 2"),
    ("BSL-1.0", "boost software license - version 1.0"),
    ("CC0-1.0", "cc0 1.0 universal"),
    ("Unlicense", "this is free and unencumbered software released into the public domain"),
    ("MIT", "permission is hereby granted, free of charge", "the above copyright notice and this permission notice"),
    ("BSD-3-Clause", "redistribution and use in source and binary forms", "neither the name"),
    ("BSD-2-Clause", "redistribution and use in source and binary forms"),
    ("ISC", "permission to use, copy, modify, and/or distribute this software for any purpose"),
)
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "ISC License (ISCL)": "ISC",
    "The Unlicense (Unlicense)": "Unlicense",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0",
    "Python Software Foundation License": "Python-2.0",
}
# of pyproject.toml, by the standard or by Poetry
EXPRESSION = re.compile(r"""^license\s*=\s*["']\s*([A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*)""", re.M)


def licence_of(source: Source, members: Iterable[Member]) -> str:
    """Return the SPDX id of a source, or "" if no licence file or metadata states it.

    A licence text at the root takes precedence over one in a `license` folder, and both over a package's metadata. If
    there are several packages, the metadata of none is used for the source.
    """
    members = [member for member in members if not member.rejection]
    packages = {member.path.partition("/")[0] for member in members if ".dist-info/" in member.path}
    if len(packages) > 1:
        members = [member for member in members if ".dist-info/" not in member.path]
    texts = [member for member in members if LICENCE_FILE.fullmatch(member.path)]
    metadata = [member for member in members if member.path == "pyproject.toml" or CORE_METADATA.fullmatch(member.path)]
    candidates = sorted(texts, key=lambda member: (member.path.count("/"), member.path)) + metadata
    for member, data in zip(candidates, source.read(candidates, MAX_BYTES), strict=True):
        text = data.decode("utf-8", "replace") if isinstance(data, bytes) else ""
        stated = stated_licence(text) if CORE_METADATA.fullmatch(member.path) else ""
        if licence := stated or spdx_id(text):
            return licence
    return ""


def licences_of_packages(source: Source, members: Iterable[Member], paths: Collection[str]) -> dict[str, str]:
    """Return the SPDX ids of installed packages, by their files among `paths`, or by their top-level names.

    The files of a package are those in the `RECORD` of its `*.dist-info` folder, else those under `top_level.txt`. Its
    licence is the expression or the classifiers of its `METADATA`, else the licence files there. The licence text in
    `METADATA` comes last, since it may contain the licences of everything that is bundled with the package.
    """
    folders: dict[str, dict[str, Member]] = defaultdict(dict)
    for member in members:
        folder, _, name = member.path.partition("/")
        if folder.endswith(".dist-info") and not member.rejection:
            folders[folder][name] = member
    found: dict[str, str] = {}
    for own in folders.values():
        metadata = _text(source, own, "METADATA")
        if licence := stated_licence(metadata) or licence_of(source, own.values()):
            found.update(dict.fromkeys(_files_or_names(source, own, paths), licence))
    return found


def _files_or_names(source: Source, own: Mapping[str, Member], paths: Collection[str]) -> Iterator[str]:
    if record := _text(source, own, "RECORD"):
        files = (line.rsplit(",", 2)[0].strip('"') for line in record.splitlines())
        yield from (file for file in files if file in paths)
        return
    for name in _text(source, own, "top_level.txt").split():
        yield from (name, f"{name}.py")


def _text(source: Source, own: Mapping[str, Member], name: str) -> str:
    contents = source.read([own[name]] if name in own else [], MAX_RECORD)
    return "".join(data.decode("utf-8", "replace") for data in contents if isinstance(data, bytes))


def stated_licence(metadata: str) -> str:
    """Return the SPDX expression that the head of core metadata states, or its classifier names, or ""."""
    head, _ = parse_email(metadata.replace("\r\n", "\n").partition("\n\n")[0])
    with contextlib.suppress(InvalidLicenseExpression):
        return canonicalize_license_expression(head.get("license_expression", ""))
    stated = (text.removeprefix("License :: OSI Approved :: ") for text in head.get("classifiers", []))
    return next((CLASSIFIERS[text] for text in stated if text in CLASSIFIERS), "")


def spdx_id(text: str) -> str:
    """Return the SPDX id of a licence text, or the expression that a pyproject.toml states, or ""."""
    flat = re.sub(r"\s*,?\s+", " ", text.lower())
    for name, *phrases in PHRASES:
        if all(phrase.replace(", ", " ") in flat for phrase in phrases):
            return name
    expression = EXPRESSION.search(text)
    return expression[1] if expression else ""
