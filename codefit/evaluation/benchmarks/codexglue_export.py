"""Prepared pairs of the task method in the format of CodeXGLUE's Method-Generation, for third-party tools.

A row is `signature, body, docstring, id`, of Python only. Comments go; line ends become `<EOL>`, and indentation
`<INDENT>` and `<DEDENT>`. The 200 most frequent strings and the 30 most frequent numbers of train stay, as
`<STR_LIT:x>` and `<NUM_LIT:1>`, with a space written U+0020 and a comma U+002C; all others become `<STR_LIT>` and
`<NUM_LIT>`, f-strings among them. `literals.json` lists those that stay, as CodeXGLUE's own training code wants them.
Source of the format: github.com/microsoft/CodeXGLUE, Code-Code/Method-Generation and CodeCompletion-token.
`codefit.evaluation.benchmarks.codexglue` reads what is written here.
"""

import io
import json
import re
import tokenize
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.outputs import write_whole
from codefit.records import Pair, read_jsonl, write_jsonl
from codefit.tasks.cutting import dedented

SPLITS = {"train": "train", "validation": "dev", "test": "test"}
STRINGS, NUMBERS = 200, 30  # how many literals stay
STRING = re.compile(r"(?P<kind>[a-zA-Z]*)(?P<quote>\"{3}|'{3}|\"|')(?P<text>.*)(?P=quote)", re.DOTALL)
HIDDEN = {" ": "U+0020", ",": "U+002C"}
UNREADABLE = (tokenize.TokenError, SyntaxError)


@dataclass
class Literals:
    """The literals that stay, and those that were seen, by how often."""

    kept: frozenset[tuple[str, str]] = frozenset()
    seen: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def that_keep(cls, strings: Iterable[str], numbers: Iterable[str]) -> "Literals":
        """Return literals of which these strings and numbers stay."""
        return cls(frozenset([("STR", text) for text in strings] + [("NUM", text) for text in numbers]))

    def mask(self, kind: str, text: str) -> str:
        """Return how a literal of the kind STR or NUM is written, and count it."""
        self.seen[kind, text] += 1
        return f"<{kind}_LIT:{text}>" if (kind, text) in self.kept else f"<{kind}_LIT>"

    def frequent(self, kind: str, most: int) -> list[str]:
        """Return the most frequent literals of a kind; one that is empty, or would end its mask, never stays."""
        found = [(-count, text) for (of, text), count in self.seen.items() if of == kind and text and ">" not in text]
        return [text for _, text in sorted(found)[:most]]


def export(dataset: Path, folder: Path) -> Counter[str]:
    """Write train, dev and test, and the literals that stay, into a folder; return counts by what became of the pairs.

    Args:
        dataset: a folder with the pairs of the task method, by split.
        folder: where the files go; it is made.
    """
    folder.mkdir()
    strings, numbers = frequent_literals(read_jsonl(dataset / "train.jsonl", Pair))
    listed = {"str": strings, "num": numbers, "char": []}  # CHAR is for Java
    write_whole(folder / "literals.json", json.dumps(listed, ensure_ascii=False) + "\n")
    literals = Literals.that_keep(strings, numbers)
    counts: Counter[str] = Counter()
    for split, name in SPLITS.items():
        rows = [row(pair, literals) for pair in read_jsonl(dataset / f"{split}.jsonl", Pair)]
        counts.update(outcome if isinstance(outcome, str) else "exported" for outcome in rows)
        write_jsonl(folder / f"{name}.jsonl", [outcome for outcome in rows if not isinstance(outcome, str)])
    return counts


def frequent_literals(pairs: Iterable[Pair]) -> tuple[list[str], list[str]]:
    """Return the most frequent strings and numbers of pairs, which stay in the export."""
    seen = Literals()
    for pair in pairs:
        row(pair, seen)
    return seen.frequent("STR", STRINGS), seen.frequent("NUM", NUMBERS)


def row(pair: Pair, literals: Literals) -> dict[str, str] | str:
    """Return a pair as a row, or why it has none."""
    if pair.language != "python":
        return "not Python"
    syntax = Syntax(pair.prompt + pair.completion, LANGUAGES["python"])
    function = next(iter(syntax.functions()), None)
    if function is None or function.docstring is None:
        return "not a function with a docstring"
    try:
        return {
            "signature": normalised(pair.prompt[: function.docstring[0]].rstrip(), literals).removesuffix("<EOL>"),
            "body": normalised(dedented(pair.completion) + "\n", literals),
            "docstring": syntax.documentation(function),
            "id": pair.id,
        }
    except UNREADABLE:
        return "not readable by this Python"


def normalised(code: str, literals: Literals) -> str:
    """Return Python code on one line, in CodeXGLUE's marks.

    Raises:
        tokenize.TokenError, SyntaxError: this is no Python.
    """
    written: list[str] = []
    line, column = 1, 0  # where the token before ended
    for kind, text, start, end in _tokens(code):
        if kind == "COMMENT":
            continue
        between = " " * (start[1] - column if start[0] == line else start[0] > line and not _ended(written))
        line, column = end
        if kind in ("NEWLINE", "NL"):
            written += [] if _ended(written) else ["<EOL>"]
        elif kind in ("INDENT", "DEDENT"):
            written.append(f"<{kind}>")
        elif kind == "NUMBER":
            written += [between, literals.mask("NUM", text)]
        elif kind == "STRING":
            written += [between, _string(text, literals)]
        elif kind != "ENDMARKER":
            written += [between, text]
    return "".join(written)


def _ended(written: list[str]) -> bool:
    """Return whether a new line has begun."""
    return not written or written[-1] in ("<EOL>", "<INDENT>", "<DEDENT>")


def _tokens(code: str) -> Iterator[tuple[str, str, tuple[int, int], tuple[int, int]]]:
    """Yield kind, text, start and end of each token; an f-string is one, in every version of Python."""
    lines = code.splitlines(keepends=True)
    opened: list[tuple[int, int]] = []
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            opened.append(token.start)
        elif kind.endswith("STRING_END"):
            start = opened.pop()
            if not opened:
                yield "STRING", _between(lines, start, token.end), start, token.end
        elif not opened:
            yield kind, token.string, token.start, token.end


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the text between two places of a text."""
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    inner = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *inner, lines[end[0] - 1][: end[1]]])


def _string(text: str, literals: Literals) -> str:
    parts = STRING.fullmatch(text)
    if parts is None:
        return literals.mask("STR", "")
    holds_code = "f" in parts["kind"].lower()
    content = "" if holds_code else " ".join(parts["text"].split())
    for sign, name in HIDDEN.items():
        content = content.replace(sign, name)
    return f"{parts['kind']}{parts['quote']}{literals.mask('STR', content)}{parts['quote']}"
