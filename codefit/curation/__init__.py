"""What stage 2 does to documents before pairs are built: cleaning, rules, duplicates, splits."""

import dataclasses
from collections.abc import Sequence
from pathlib import PurePosixPath

from codefit.curation.filters import rejected
from codefit.curation.licence_headers import remove_licence_headers
from codefit.languages import LANGUAGES, language_of
from codefit.records import Document
from codefit.sources import Rejection


def curate(document: Document, languages: Sequence[str] | None, profile: str) -> tuple[Document | Rejection, int]:
    """Return a document with plain line ends and no licence header, or why it is left out, and the headers removed.

    Args:
        languages: what is kept; None keeps every language of the table.
        profile: one of `filters.PROFILES`.
    """
    language = LANGUAGES.get(document.language.lower()) or language_of(document.path)
    if language is None:
        return Rejection("unknown language", document.language or PurePosixPath(document.path).suffix), 0
    if languages and language.name not in languages:
        return Rejection("other language", language.name), 0
    try:
        document.content.encode()
    except UnicodeEncodeError as error:
        return Rejection("not UTF-8", f"character {error.start}"), 0
    text, headers = remove_licence_headers(document.content.replace("\r\n", "\n"), language)
    rejection = rejected(text, document.path, language, profile)
    return rejection or dataclasses.replace(document, content=text, language=language.name), headers
