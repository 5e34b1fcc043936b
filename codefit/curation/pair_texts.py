"""Whether the texts of a pair stand in the document that it names: the check of every task's pairs.

Most pairs are a piece of a document to the letter. Those of methods have lost their indentation, and those of names
and classes are code inside an instruction, so white space does not count there.
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
    """Return which field of a pair, its context left out, holds what is not in the document; None if all is there."""
    return CHECKS.get(pair.task, _literal)(pair, own_prompt(pair), content)


def _literal(pair: Pair, prompt: str, content: str) -> str | None:
    return _first_missing(content, ("prompt", prompt), ("completion", pair.completion), ("suffix", pair.suffix or ""))


def _first_missing(content: str, *fields: tuple[str, str]) -> str | None:
    """Return the first field that is not in a text, or "prompt" if the fields are there but not one after another."""
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
    code, text = (_squeezed(part).replace(MASK, pair.completion) for part in (_code(prompt), content))
    return _first_missing(text, ("prompt", code)) or _first_missing(text, ("completion", pair.completion))


def _summary(pair: Pair, prompt: str, content: str) -> str | None:
    """The documentation has lost its marks, and the code its documentation: both are found line by line."""
    squeezed = _squeezed(content)
    for name, text in (("prompt", _code(prompt)), ("completion", pair.completion)):
        if any(_squeezed(line) not in squeezed for line in text.split("\n")):
            return name
    return None


def _code(prompt: str) -> str:
    """Return the code in an instruction, whatever its format."""
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
