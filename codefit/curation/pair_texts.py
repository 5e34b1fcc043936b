"""Check that the texts of a pair occur in its document, for every task.

The texts of most pairs are exact pieces of the document. Methods have lost their indentation, and for names and classes
the code is part of an instruction, so white space is ignored there.
"""

import re
from collections.abc import Callable

from codefit.code.languages import LANGUAGES
from codefit.records import Pair
from codefit.tasks.line import CODE_FOLLOWS
from codefit.tasks.naming import MASK
from codefit.tasks.repository_context import own_prompt

FENCED = re.compile(r"\n\n```\w+\n(.*)\n```\n", re.DOTALL)


def foreign_text(pair: Pair, content: str) -> str | None:
    """Return the field of a pair, without its context, whose text is not in the document; None if all texts are."""
    return CHECKS.get(pair.task, _literal)(pair, own_prompt(pair), content)


def _literal(pair: Pair, prompt: str, content: str) -> str | None:
    return _first_missing(content, ("prompt", prompt), ("completion", pair.completion), ("suffix", pair.suffix or ""))


def _first_missing(content: str, *fields: tuple[str, str]) -> str | None:
    """Return the first field that is not in a text, or "prompt" if the fields do not follow each other there."""
    if "".join(text for _, text in fields) in content:
        return None
    return next((name for name, text in fields if text not in content), fields[0][0])


def _line(pair: Pair, prompt: str, content: str) -> str | None:
    """A line's prompt can begin with the lines after it, as a comment."""
    mark = LANGUAGES[pair.language].line_comments[0]
    comment, found, code = prompt.partition(f"{mark} {CODE_FOLLOWS}\n")
    if not found or pair.suffix is not None:
        return _literal(pair, prompt, content)
    squeezed = _squeezed(content)
    after = [line.removeprefix(mark) for line in comment.split("\n")[1:]]
    if any(_squeezed(line) not in squeezed for line in after):
        return "prompt"
    return _first_missing(content, ("prompt", code), ("completion", pair.completion))


def _method(pair: Pair, prompt: str, content: str) -> str | None:
    return _first_missing(_squeezed(content), ("prompt", _squeezed(prompt)), ("completion", _squeezed(pair.completion)))


def _naming(pair: Pair, prompt: str, content: str) -> str | None:
    """Check the code; the docstring of an indented language may be left out of it."""
    lines = [_squeezed(line).replace(MASK, pair.completion) for line in _code(prompt).split("\n")]
    text = _squeezed(content).replace(MASK, pair.completion)
    cuts = len(lines) if LANGUAGES[pair.language].blocks == "indent" else 1
    if not any(_follow(text, "".join(lines[:cut]), "".join(lines[cut:])) for cut in range(cuts)):
        return "prompt"
    return _first_missing(text, ("completion", pair.completion))


def _follow(text: str, first: str, second: str) -> bool:
    """Return whether two texts occur in a text, one after the other."""
    at = text.find(first)
    return at >= 0 and text.find(second, at + len(first)) >= 0


def _summary(pair: Pair, prompt: str, content: str) -> str | None:
    """Check line by line: the documentation has lost its marks, and the code its documentation."""
    squeezed = _squeezed(content)
    for name, text in (("prompt", _code(prompt)), ("completion", pair.completion)):
        if any(_squeezed(line) not in squeezed for line in text.split("\n")):
            return name
    return None


def _code(prompt: str) -> str:
    """Return the code in an instruction of any format."""
    fenced = FENCED.search(prompt)
    return fenced[1] if fenced else prompt.rpartition("\n\n")[0]


def _squeezed(text: str) -> str:
    return "".join(text.split())


CHECKS: dict[str, Callable[[Pair, str, str], str | None]] = {
    "line": _line,
    "method": _method,
    "naming": _naming,
    "summary": _summary,
}
