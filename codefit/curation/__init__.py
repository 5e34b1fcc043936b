"""What stage 2 does to documents before pairs are built: cleaning, rules, duplicates, splits."""

from codefit.curation.licence_headers import remove_licence_headers
from codefit.languages import Language


def clean(text: str, language: Language) -> tuple[str, int]:
    """Return a text with plain line ends and no licence header, and how many headers were removed."""
    return remove_licence_headers(text.replace("\r\n", "\n"), language)
