"""The SPDX id of a source, from its licence file or the metadata of its package."""

import re
from collections.abc import Iterable

from codefit.sources import Member, Source

MAX_BYTES = 100_000
LICENCE_FILE = re.compile(
    r"(?:(?:licen[cs]es?|[^/]+\.dist-info(?:/licen[cs]es)?)/)?(?:un)?(?:licen[cs]e|copying)[^/]*", re.I
)
METADATA_FILE = re.compile(r"(?:pyproject\.toml|PKG-INFO|[^/]+\.dist-info/METADATA)")

# Every phrase of a row must occur, spaces and letter case aside; the first row that fits counts.
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
EXPRESSION = re.compile(
    r"""^(?:License-Expression:|license\s*=\s*["'])\s*([A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*)""", re.M
)


def licence_of(source: Source, members: Iterable[Member]) -> str:
    """Return the SPDX id of a source, or "" if no licence file or metadata tells.

    The licence text at the root counts before one in a `license` folder, and both before a package's metadata. Where
    several packages lie side by side, none speaks for the whole.
    """
    members = [member for member in members if not member.rejection]
    packages = {member.path.partition("/")[0] for member in members if ".dist-info/" in member.path}
    if len(packages) > 1:
        members = [member for member in members if ".dist-info/" not in member.path]
    texts = [member for member in members if LICENCE_FILE.fullmatch(member.path)]
    metadata = [member for member in members if METADATA_FILE.fullmatch(member.path)]
    candidates = sorted(texts, key=lambda member: (member.path.count("/"), member.path)) + metadata
    contents = [data for data in source.read(candidates, MAX_BYTES) if isinstance(data, bytes)]
    found = [spdx_id(data.decode("utf-8", "replace")) for data in contents]
    return next(filter(None, found), "")


def spdx_id(text: str) -> str:
    """Return the SPDX id that a licence text or a package's metadata states, or ""."""
    flat = re.sub(r"\s*,?\s+", " ", text.lower())
    for name, *phrases in PHRASES:
        if all(phrase.replace(", ", " ") in flat for phrase in phrases):
            return name
    if expression := EXPRESSION.search(text):
        return expression[1]
    return next((spdx for name, spdx in CLASSIFIERS.items() if f"License :: OSI Approved :: {name}" in text), "")
