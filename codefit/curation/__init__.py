"""What stage 2 does to documents before pairs are built: cleaning, rules, redaction, duplicates, splits."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from codefit.curation.filters import File, limits_of, rejected
from codefit.curation.licence_headers import remove_licence_headers
from codefit.curation.redaction import redact
from codefit.languages import LANGUAGES, language_of
from codefit.records import Document
from codefit.sources import Rejection


@dataclasses.dataclass(frozen=True, slots=True)
class Curated:
    """A document as it will be trained on, or why it is left out, and counts of what was done to it.

    `redacted` counts by kind what was replaced, or with `--no_redact` what would have been.
    """

    outcome: Document | Rejection
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    redacted: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class Options:
    """What is done to documents, by the flags of their names. `language`: None keeps every language of the table."""

    language: Sequence[str] | None = None
    profile: str = "standard"
    rule: Sequence[str] = ()
    redact: bool = True

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Options":
        """Return the options of a command line, or of the manifest that remembers one."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: arguments[name] for name in names if name in arguments})

    @cached_property
    def limits(self) -> dict[str, Any]:
        return limits_of(self.profile, self.rule)


def curate_all(documents: Sequence[Document], options: Options) -> list[Curated]:
    """Return for each document what `curate` says; documents do not depend on each other."""
    return [curate(document, options) for document in documents]


def curate(document: Document, options: Options) -> Curated:
    """Clean a document, ask the rules about it, and redact it."""
    language = LANGUAGES.get(document.language.lower()) or language_of(document.path)
    if language is None:
        return Curated(Rejection("unknown language", document.language or PurePosixPath(document.path).suffix))
    if options.language and language.name not in options.language:
        return Curated(Rejection("other language", language.name))
    try:
        document.content.encode()
    except UnicodeEncodeError as error:
        return Curated(Rejection("not UTF-8", f"character {error.start}"))
    text, headers = remove_licence_headers(document.content.replace("\r\n", "\n"), language)
    counts = Counter(licence_headers_removed=headers)
    if rejection := rejected(File(text, document.path, language, document.license), options.limits):
        return Curated(rejection, counts)
    redacted_text, redacted = redact(text, language)
    text = redacted_text if options.redact else text
    return Curated(dataclasses.replace(document, content=text, language=language.name), counts, redacted)
