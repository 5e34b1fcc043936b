"""The body of a function from its signature and documentation, as in CodeXGLUE's Method-Generation.

The prompt is the function up to its body: the comment above it, decorators, signature and, in Python, the docstring;
the completion is the body as in the file, with its closing brace. Both lose the indentation of the function, so that
every line of the body is indented and the first unindented line ends it (`end_of_body` in codefit/code/structure.py).

Skipped and counted are tests and functions without documentation of at least three words, without a body, or with fewer
than three lines besides decorators and docstring: the limits of CodeSearchNet (arXiv 1909.09436). A body is never cut:
functions with a body longer than `--max_completion_tokens`, or with a head longer than the prompt, are skipped too.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.structure import end_of_body
from codefit.code.syntax import Definition, Syntax
from codefit.records import Document, Pair
from codefit.tasks.cutting import dedented, id_of, is_short, parsed, thinned, tokens_of, whole_lines
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = True
STOP = "body"

LEAST_WORDS = 3
TEST = re.compile(r"`?_*[tT]est")
ABSTRACT = re.compile(r"@(?:\w+\.)*(?:abstractmethod|overload)\b")
NOTHING = re.compile(r"[={\s]*(?:pass|\.\.\.|raise\s+NotImplementedError\b.*|TODO\(.*\))?[}\s]*", re.DOTALL)


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    syntax = parsed(document)
    asked = []
    for function in syntax.functions():
        if reason := _refusal(syntax, function) or _over_a_limit(syntax, function, starts, options):
            skipped[reason] += 1
            continue
        prompt, completion = _halves(syntax, function)
        if not completion.strip() or end_of_body(completion) is not None:
            skipped["body that goes on where one ends"] += 1
        else:
            asked.append((id_of(document, function.name_span[0]), prompt, completion))
    for identity, prompt, completion in thinned(asked, options.max_pairs_per_file, skipped):
        yield Pair(
            id=identity,
            task="method",
            prompt=prompt,
            completion=completion,
            repository=document.repository,
            path=document.path,
            language=document.language,
        )


def _refusal(syntax: Syntax, function: Definition) -> str:
    """Return the reason why a function gives no pair, apart from the token limits; "" if it gives one."""
    text = syntax.text
    if function.body is None or ABSTRACT.search(text, function.span[0], function.head):
        return "abstract function"
    if function.docstring is None:
        return "function without documentation"
    if len(syntax.documentation(function).split()) < LEAST_WORDS:
        return f"documentation under {LEAST_WORDS} words"
    if TEST.match(function.name):
        return "test"
    if NOTHING.fullmatch(text, _body(syntax, function), function.span[1]):
        return "abstract function"
    return "short function" if is_short(text, function) else ""


def _over_a_limit(syntax: Syntax, function: Definition, starts: Sequence[int], options: TaskOptions) -> str:
    """Return the token limit that a function exceeds; "" if it exceeds none."""
    body = _body(syntax, function)
    if tokens_of(starts, body, function.span[1]) > options.max_completion_tokens:
        return "body over the limit"
    head = tokens_of(starts, _start(function), body)
    return "signature and documentation over the limit" if head > options.max_prompt_tokens else ""


def _start(function: Definition) -> int:
    """Return the start of a function, including the comment above it."""
    return min(function.span[0], function.docstring[0] if function.docstring else function.span[0])


def _body(syntax: Syntax, function: Definition) -> int:
    """Return the start of the body: the line after the docstring, `{` or `=`, or the rest of that line if not empty."""
    assert function.body is not None
    assert function.docstring is not None
    if syntax.language.blocks == "indent":
        end = function.docstring[1]
    elif syntax.text.startswith(("{", "="), function.body[0]):
        end = function.body[0] + 1
    else:  # an expression, or a body without an opening mark
        end = len(syntax.text[: function.body[0]].rstrip())
    mark = re.escape(syntax.language.line_comments[0])
    rest = re.compile(rf"[ \t]*(?:{mark}[^\n]*)?\n(?:\s*\n)?").match(syntax.text, end, function.span[1])
    return rest.end() if rest else end


def _halves(syntax: Syntax, function: Definition) -> tuple[str, str]:
    """Return the text of a function up to its body, and the body, both without the indentation of the function."""
    text, body = syntax.text, _body(syntax, function)
    head = dedented(whole_lines(text, _start(function), body))
    return head, dedented(whole_lines(text, _start(function), function.span[1]))[len(head) :]
