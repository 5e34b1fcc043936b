"""Curation of single documents: formatting, cleaning, filter rules and redaction."""

import dataclasses
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import PurePosixPath
from typing import Any

from codefit.code.languages import LANGUAGES, Language, language_of
from codefit.curation.filters import File, limits_of, rejected
from codefit.curation.formatting import formatted
from codefit.curation.licence_headers import remove_licence_headers
from codefit.curation.path_globs import matches
from codefit.curation.redaction import redact
from codefit.curation.stripping import without_comments, without_docstrings
from codefit.engine import Engine
from codefit.records import Document, Rejection

CARRIAGE_RETURNS = re.compile(r"\r+\n?")
BATCH = 1 << 18  # characters per batch of curation or tokenisation

LOCAL = Engine()


@dataclasses.dataclass(frozen=True, slots=True)
class Curated:
    """A curated document or its rejection, and counts of what was done to it.

    `redacted` counts by kind what was replaced, or with `--no_redact` what would have been replaced.
    """

    outcome: Document | Rejection
    counts: Counter[str] = dataclasses.field(default_factory=Counter)
    redacted: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class CurationOptions:
    """The options of curation, named like their flags. `language`: None keeps every language of the table.

    `keep_matching` is a regular expression with `^` and `$` at lines; `drop_path` holds globs (path_globs.py).
    """

    language: Sequence[str] | None = None
    profile: str = "standard"
    rule: Sequence[str] = ()
    format: bool = False
    strip_comments: bool = False
    strip_docstrings: bool = False
    redact: bool = True
    keep_matching: str | None = None
    drop_path: Sequence[str] = ()

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "CurationOptions":
        """Return the options of a command line, or of the arguments in a manifest."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: arguments[name] for name in names if name in arguments})

    @cached_property
    def limits(self) -> dict[str, Any]:
        limits = limits_of(self.profile, self.rule)
        if self.strip_comments:
            limits.pop("few comments", None)
        return limits


def batched(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield the documents in lists of about a quarter of a megabyte."""
    batch: list[Document] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += len(document.content)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def curate_all(
    documents: Iterable[Document], options: CurationOptions, engine: Engine = LOCAL
) -> Iterator[tuple[Document, Curated]]:
    """Yield each document with its result; batches do not depend on each other."""
    for batch, outcomes in engine.run(partial(curate_batch, options=options), batched(documents)):
        yield from zip(batch, outcomes, strict=True)


def curate_batch(documents: Sequence[Document], options: CurationOptions) -> list[Curated]:
    """Return the result for each document."""
    if not options.format:
        return [curate(document, options) for document in documents]
    documents, unparsed = _formatted(documents)
    outcomes = [curate(document, options) for document in documents]
    for number in unparsed:
        outcomes[number].counts["not_formatted"] += 1
    return outcomes


def _formatted(documents: Sequence[Document]) -> tuple[list[Document], list[int]]:
    """Return the documents with formatted Python, and the indices of those that do not parse."""
    python = [number for number, document in enumerate(documents) if _language(document) is LANGUAGES["python"]]
    texts = formatted([with_line_feeds(documents[number].content) for number in python])
    results = dict(zip(python, texts, strict=True))
    return [
        document if (text := results.get(number)) is None else dataclasses.replace(document, content=text)
        for number, document in enumerate(documents)
    ], [number for number, text in results.items() if text is None]


def with_line_feeds(text: str) -> str:
    """Return a text with LF line ends and without a byte order mark."""
    text = text.removeprefix("\ufeff")
    return CARRIAGE_RETURNS.sub(_line_feeds, text) if "\r" in text else text


def _line_feeds(match: re.Match[str]) -> str:
    """Return one line end for CR LF and CR CR LF, and one for every single CR."""
    return "\n" if match[0].endswith("\n") else "\n" * len(match[0])


def _language(document: Document) -> Language | None:
    return language_of(document.path, document.language)


def curate(document: Document, options: CurationOptions) -> Curated:
    """Clean a document that is already formatted, apply the filter rules, and redact it."""
    language = _language(document)
    if language is None:
        return Curated(Rejection("unknown language", document.language or PurePosixPath(document.path).suffix))
    if options.language and language.name not in options.language:
        return Curated(Rejection("other language", language.name))
    if glob := next((glob for glob in options.drop_path if matches(glob, document.path)), None):
        return Curated(Rejection("dropped path", glob))
    for name in document.__slots__:
        try:
            getattr(document, name).encode()
        except UnicodeEncodeError as error:
            where = f"character {error.start}" if name == "content" else name
            return Curated(Rejection("not UTF-8", where))
    text = with_line_feeds(document.content)
    if options.keep_matching and not re.search(options.keep_matching, text, re.MULTILINE):
        return Curated(Rejection("no match", options.keep_matching))
    text, headers = remove_licence_headers(text, language)
    counts = Counter(licence_headers_removed=headers)
    text = _stripped(text, document.path, language, options, counts)
    if rejection := rejected(File(text, document.path, language, document.license), options.limits):
        return Curated(rejection, counts)
    redacted_text, redacted = redact(text, language)
    text = redacted_text if options.redact else text
    return Curated(dataclasses.replace(document, content=text, language=language.name), counts, redacted)


def _stripped(text: str, path: str, language: Language, options: CurationOptions, counts: Counter[str]) -> str:
    """Return a text without docstrings and comments, if the flags ask for that and the text stays valid."""
    for wanted, stripped in (
        (options.strip_docstrings and language.name == "python", without_docstrings),
        (options.strip_comments, lambda text: without_comments(text, language, path)),
    ):
        if wanted:
            shorter = stripped(text)
            counts["not_stripped"] += shorter is None
            text = text if shorter is None else shorter
    return text
