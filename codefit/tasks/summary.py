"""The documentation of a class from its code: the class without its docstring, or the comment above it, is the prompt.

Only documentation of at least 20 words gives a pair, and with `--check_docstrings` only what passes
docstring_quality.py. Documentation longer than `--max_completion_tokens` is skipped and counted, since a docstring that
is cut in mid-sentence is not a good reference. A class longer than the prompt is cut after the last member that fits
(at a line end if not even the first one does), so that no definition is incomplete and the instruction is never cut.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Definition, Syntax
from codefit.records import Document, Pair
from codefit.tasks import docstring_quality
from codefit.tasks.cutting import cut_at_lines, id_of, parsed, thinned, tokens_of, whole_lines, without_docstring
from codefit.tasks.instructions import question, room_for_code
from codefit.tasks.task import TaskOptions

NEEDS_TOKENS = True
NEEDS_SYNTAX = True
STOP = "end"

LEAST_WORDS = 20


def build_pairs(
    document: Document, starts: Sequence[int], options: TaskOptions, skipped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs of one document; `starts` holds the character at which each of its tokens begins."""
    syntax = parsed(document)
    asked = []
    for found in syntax.classes():
        if found.docstring is None or found.body is None:
            skipped["class without documentation"] += 1
        elif len(syntax.documentation(found).split()) < LEAST_WORDS:
            skipped[f"documentation under {LEAST_WORDS} words"] += 1
        elif tokens_of(starts, *found.docstring) > options.max_completion_tokens:
            skipped["documentation over the limit"] += 1
        elif options.check_docstrings and (fault := _fault(syntax, found)):
            skipped[fault] += 1
        else:
            asked.append(found)
    for found in thinned(asked, options.max_pairs_per_file, skipped):
        yield _pair(document, syntax, found, starts, options)


def _fault(syntax: Syntax, found: Definition) -> str:
    """Return what is wrong with the docstring of a class; "" for nothing."""
    assert found.docstring is not None
    (start, end), (first, last) = found.span, found.docstring
    code = syntax.text[start:first] + syntax.text[last:end] if first >= start else syntax.text[start:end]
    return docstring_quality.fault(syntax.documentation(found), found.name, code)


def _pair(document: Document, syntax: Syntax, found: Definition, starts: Sequence[int], options: TaskOptions) -> Pair:
    assert found.docstring is not None
    text, room = syntax.text, room_for_code(options.max_prompt_tokens, options.prompt_format)
    if found.docstring[0] > found.span[0]:
        room += tokens_of(starts, *found.docstring)
    start, end = found.span[0], _end(syntax, found, starts, room)
    code = without_docstring(whole_lines(text, start, end), found.docstring, end)
    instruction = (
        f"Write the documentation of the {document.language} class below: what it is for, how it is used, and what "
        "its parameters mean. Answer with the text of the docstring, and nothing else."
    )
    wanted = f"Docstring of the class {found.name}"
    return Pair(
        id=id_of(document, found.name_span[0]),
        task="summary",
        prompt=question(code, LANGUAGES[document.language], options.prompt_format, wanted, instruction),
        completion=syntax.documentation(found),
        prompt_format="chat" if options.prompt_format == "chat" else None,
        repository=document.repository,
        path=document.path,
        language=document.language,
    )


def _end(syntax: Syntax, found: Definition, starts: Sequence[int], room: int) -> int:
    """Return the end of the part of a class that fits: the end of the class, of its last whole member, or of a line."""
    end = cut_at_lines(syntax.text, *found.span, starts, room)
    if end == found.span[1]:
        return end
    whole = [last for first, last in syntax.members(found) if last <= end and (first, last) != found.docstring]
    return whole[-1] if whole else end
