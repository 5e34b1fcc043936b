"""Build pairs from documents or additions batch by batch, with repository context before the prompt if asked for."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from codefit.records import Document, to_line
from codefit.tasks import additions
from codefit.tasks.additions import Addition
from codefit.tasks.cutting import parsed
from codefit.tasks.repository_context import Context, Near, lay_out
from codefit.tasks.task import TaskOptions, load_task
from codefit.tasks.token_offsets import token_starts


@dataclass(frozen=True, slots=True)
class Built:
    """The pairs of some documents.

    Attributes:
        lines: the pairs as JSONL.
        counts: counts of documents, pairs, tokens and so on.
        skipped: counts of cut points and definitions without a pair, by reason.
        syntax_errors: counts of documents with syntax errors, by language.
    """

    lines: str
    counts: Counter[str]
    skipped: Counter[str]
    syntax_errors: Counter[str]


def build_in_repository(batch: tuple[Sequence[Document], Sequence[Near]], **settings: Any) -> Built:
    """Return the pairs of documents with their nearest files before the prompts; see `build_batch`."""
    documents, near = batch
    return build_batch(documents, near=near, **settings)


def build_batch(
    documents: Sequence[Document], task: str, tokenizer: Any, options: TaskOptions, near: Iterable[Near] | None = None
) -> Built:
    """Return the pairs of documents; `tokenizer` is None for a task that needs no tokens."""
    counts, skipped = Counter(documents=len(documents)), Counter[str]()
    starts = token_starts(tokenizer, [document.content for document in documents]) if tokenizer else repeat([])
    module = load_task(task)
    syntax_errors: Counter[str] = Counter()
    lines: list[str] = []
    for document, start, files in zip(documents, starts, near or repeat(()), strict=False):
        context = lay_out(document, files, tokenizer, options.repository_context) if files else Context()
        own = dataclasses.replace(options, max_prompt_tokens=options.max_prompt_tokens - context.tokens)
        pairs = [context.before(pair) for pair in module.build_pairs(document, start, own, skipped)]
        lines += map(to_line, pairs)
        if near is not None:
            counts.update(pairs_with_context=len(pairs) if context.files else 0)
        counts.update(documents_without_pair=not pairs, tokens=len(start), pairs=len(pairs))
        counts.update(natural_ends=sum(pair.finish_reason == "stop" for pair in pairs))
        if module.NEEDS_SYNTAX and parsed(document).has_error:
            syntax_errors[document.language] += 1
            counts.update(unread_functions=parsed(document).unread_functions())
    return Built("".join(lines), counts, skipped, syntax_errors)


def build_additions(batch: Sequence[Addition], tokenizer: Any, options: TaskOptions) -> Built:
    """Return the pairs of what later commits added; each counts as a document."""
    counts, skipped = Counter(documents=len(batch)), Counter[str]()
    starts = token_starts(tokenizer, [addition.document.content for addition in batch])
    lines: list[str] = []
    for addition, start in zip(batch, starts, strict=True):
        context = lay_out(addition.document, addition.near, tokenizer, options.repository_context)
        own = dataclasses.replace(options, max_prompt_tokens=options.max_prompt_tokens - context.tokens)
        pairs = [context.before(pair) for pair in additions.build_pairs(addition, start, own, skipped)]
        lines += map(to_line, pairs)
        if options.repository_context:
            counts.update(pairs_with_context=len(pairs) if context.files else 0)
        counts.update(documents_without_pair=not pairs, tokens=len(start), pairs=len(pairs))
        counts.update(natural_ends=sum(pair.finish_reason == "stop" for pair in pairs))
    return Built("".join(lines), counts, skipped, Counter())
