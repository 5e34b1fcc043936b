"""Repository context: other files of the repository before a prompt, and their record in the pair.

Every file follows a comment line with its path (as in the training of DeepSeek-Coder, arXiv 2401.14196), the nearest
one last, and then comes the path of the file that is completed. A file is included whole, up to a line end, or in
several parts, which follow one line with its path. The field `context` of a pair records which characters of which
files its prompt begins with, so that this can be checked.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from codefit.code.languages import LANGUAGES
from codefit.records import Document, Pair
from codefit.tasks.token_offsets import token_starts

Near = Sequence[tuple[str, int, str]]  # other files: path, start of the text in the file, text; the nearest first


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """The context before a prompt, and the files that it consists of.

    Attributes:
        text: the files, and the path of the file that is completed.
        tokens: number of tokens of the text.
        files: `path`, `start` and `characters` of each file, in the order of the text.
    """

    text: str = ""
    tokens: int = 0
    files: tuple[dict[str, Any], ...] = ()

    def before(self, pair: Pair) -> Pair:
        """Return the pair with this context before its prompt."""
        if not self.files:
            return pair
        return dataclasses.replace(pair, prompt=self.text + pair.prompt, context=list(self.files))


def lay_out(document: Document, near: Near, tokenizer: Any, limit: int) -> Context:
    """Return the context of a document: as much of the nearest files as fits into `limit` tokens.

    Parts of one file are shown together, in the order of the file.
    """
    own = _header(document.path, document.language)
    left = limit - len(token_starts(tokenizer, [own])[0])
    taken: dict[str, list[tuple[int, str]]] = {}
    for path, start, text in near:
        header = "" if path in taken else _header(path, document.language)
        starts = token_starts(tokenizer, [header + _closed(text)])[0]
        if len(starts) > left:
            last = starts[left] if left > 0 else 0
            text = text[: max(text.rfind("\n", 0, max(last - len(header), 0)) + 1, 0)]
            starts = starts[:left]
        if text.strip():
            taken.setdefault(path, []).append((start, text))
        left -= len(starts)
        if left <= 0:
            break
    if not taken:
        return Context()
    shown = [(path, sorted(parts)) for path, parts in reversed(taken.items())]
    files = tuple({"path": path, "start": at, "characters": len(text)} for path, parts in shown for at, text in parts)
    text = "".join(
        _header(path, document.language) + "".join(_closed(text) for _, text in parts) for path, parts in shown
    )
    return Context(text + own, limit - left, files)


def pieces(pair: Pair) -> Iterator[tuple[str, int, str]]:
    """Yield (path, start in the file, text) for each piece of a file in the context of a pair.

    Raises:
        ValueError: the prompt does not begin with the recorded context.
    """
    at, path = 0, None
    for file in pair.context or []:
        header = "" if file["path"] == path else _header(file["path"], pair.language)
        path = file["path"]
        if not pair.prompt.startswith(header, at):
            raise ValueError(f"{pair.id} does not begin with {file['path']}")
        at += len(header)
        text = pair.prompt[at : at + file["characters"]]
        yield file["path"], file["start"], text
        at += len(_closed(text))
    if pair.context and not pair.prompt.startswith(_header(pair.path, pair.language), at):
        raise ValueError(f"{pair.id} begins with more than its context")


def own_prompt(pair: Pair) -> str:
    """Return the prompt of a pair without its context.

    Raises:
        ValueError: the prompt does not begin with the recorded context.
    """
    at, last = 0, None
    for path, _, text in pieces(pair):
        at += len(_closed(text)) + (0 if path == last else len(_header(path, pair.language)))
        last = path
    return pair.prompt[at + len(_header(pair.path, pair.language)) :] if pair.context else pair.prompt


def _header(path: str, language: str) -> str:
    return f"{LANGUAGES[language].line_comments[0]} {path}\n"


def _closed(text: str) -> str:
    """Return a text that ends with a line end."""
    return text if text.endswith("\n") else text + "\n"
