"""The name of a function from its code: the name is masked wherever it occurs, in code, comments and strings.

Skipped and counted are functions whose name is not free (overrides, special methods, names prescribed by the language
or a test framework), without a body, or with fewer than three lines besides decorators and docstring; the limits follow
CodeSearchNet's (arXiv 1909.09436). A comment above the function belongs to it; `--without_docstring` leaves out this
comment or the docstring. A function longer than the prompt is cut at a line end, and its beginning is kept.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.lexer import IDENTIFIER
from codefit.code.syntax import Definition, Syntax
from codefit.records import Document, Pair
from codefit.tasks.cutting import (
    cut_at_lines,
    dedented,
    id_of,
    is_short,
    parsed,
    thinned,
    tokens_of,
    whole_lines,
    without_docstring,
)
from codefit.tasks.instructions import question, room_for_code
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = True
STOP = "line"

MASK = "FUNCTION_NAME"
SPECIAL = re.compile(r"__\w+__|_+")
OVERRIDE = re.compile(r"@(?:typing\.)?[Oo]verride\b|\boverride\b")


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    syntax = parsed(document)
    asked = []
    for function in syntax.functions():
        if reason := _refusal(syntax, function):
            skipped[reason] += 1
        else:
            asked.append(function)
    for function in thinned(asked, options.max_pairs_per_file, skipped):
        yield _pair(document, syntax, function, starts, options)


def _refusal(syntax: Syntax, function: Definition) -> str:
    """Return the reason why a function gives no pair; "" if it gives one."""
    text, name = syntax.text, function.name.strip("`")
    if function.body is None:
        return "abstract function"
    head = text[function.span[0] : function.name_span[0]]
    calls_super = re.search(rf"\bsuper\b(?:\([^()]*\))?\s*\.\s*{re.escape(name)}\b", text[slice(*function.body)])
    if OVERRIDE.search(head) or calls_super:
        return "override"
    if SPECIAL.fullmatch(name) or name in syntax.grammar.dictated:
        return "name that is not free"
    if not IDENTIFIER.fullmatch(name.rstrip("?!")):  # may end a name in Ruby
        return "name that is a sentence"
    return "short function" if is_short(text, function) else ""


def _code(text: str, function: Definition, starts: Sequence[int], options: TaskOptions) -> str:
    """Return as much of a function as fits, with or without its documentation."""
    start, last = function.span
    room = room_for_code(options.max_prompt_tokens, options.prompt_format)
    if function.docstring is None or not options.without_docstring:
        start = min(start, function.docstring[0] if function.docstring else start)
        return dedented(whole_lines(text, start, cut_at_lines(text, start, last, starts, room))).rstrip()
    if function.docstring[0] > start:
        room += tokens_of(starts, *function.docstring)
    end = cut_at_lines(text, start, last, starts, room)
    return without_docstring(whole_lines(text, start, end), function.docstring, end)


def _pair(
    document: Document, syntax: Syntax, function: Definition, starts: Sequence[int], options: TaskOptions
) -> Pair:
    text, name = syntax.text, function.name.strip("`")
    code = _code(text, function, starts, options)
    masked = re.sub(rf"(?<![^\W_])(?<!\w){re.escape(name)}(?!\w)", MASK, code)
    language = LANGUAGES[document.language]
    instruction = (
        f"The function below is called {MASK}, which is a placeholder for its real name. "
        "Answer with the name that it should have, and nothing else."
    )
    return Pair(
        id=id_of(document, function.name_span[0]),
        task="naming",
        prompt=question(masked, language, options.prompt_format, f"Name of {MASK}", instruction),
        completion=name,
        prompt_format="chat" if options.prompt_format == "chat" else None,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )
