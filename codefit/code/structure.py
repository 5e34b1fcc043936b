"""Where a piece of code naturally ends, from its brackets and indentation; no grammar, so any text has an answer.

Two kinds of piece are known, both functions of nothing but the text, so that a model can learn where to stop:

- from within a line: to the end of the logical line, which goes on while a `(` or `[` is open. In languages of
  indentation an open `{` continues it too; in languages of braces a block is a world of its own.
- from a line start: the statement there, to the line end where every bracket opened since is closed again, in
  languages of indentation with the deeper lines that follow, and in Ruby with the `end` after these. Comments and
  annotations at its head belong to it.

Inside a comment or string of several lines every line stands alone.

The body of a function whose head is known is simpler still: see `end_of_body`.
"""

import bisect
import re
from collections.abc import Sequence

from codefit.code.languages import Language
from codefit.code.lexer import mask

BRACKETS = re.compile(r"[()\[\]{}]")
OPENING = {")": "(", "]": "[", "}": "{"}
NOT_INDENTED = re.compile(r"(?<=\n)\S[^\n]*")
END_OF_BLOCK = re.compile(r"end\b")
BLOCK_GOES_ON = re.compile(r"(?:else|elsif|when|in|rescue|ensure|then)\b")
OPENED_AGAIN = re.compile(r"[(\[{]\s*$|->\s*$")
FARTHEST = 100  # brackets up to the one that a stray bracket can close
ANNOTATION = re.compile(r"(?:@[\w.:]+(?:\((?:[^()]|\([^()]*\))*\))?\s*)+")


class Structure:
    """The lines of a text and how its brackets are nested; lines count from 0, positions are characters."""

    def __init__(self, text: str, language: Language) -> None:
        self.text = text
        self.code, self.long_spans = mask(text, language)
        self.indented = language.blocks != "braces"
        self.has_end = language.blocks == "end"
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.ends = [*(start - 1 for start in self.starts[1:]), len(text)]
        self._nest()

    def _nest(self) -> None:
        """Record of every line its lowest and last depth, and whether the logical line ends with it."""
        stack: list[str] = []
        self.lowest, self.last, self.complete = [], [], []
        depth, complete = 0, True
        for start, end in zip(self.starts, self.ends, strict=True):
            lowest = depth
            if brackets := BRACKETS.findall(self.code, start, end):
                lowest = _after(stack, brackets)
                depth, complete = len(stack), not stack or (stack[-1] == "{" and not self.indented)
            self.lowest.append(lowest)
            self.last.append(depth)
            self.complete.append(complete)

    def line_at(self, position: int) -> int:
        """Return the line that holds a position."""
        return bisect.bisect_right(self.starts, position) - 1

    def is_blank(self, line: int) -> bool:
        """Return whether a line holds nothing but white space."""
        return not self.text[self.starts[line] : self.ends[line]].strip()

    def natural_end(self, position: int, limit: int) -> int | None:
        """Return where the piece that starts at a position ends, or None if that lies behind the limit."""
        line = self.line_at(position)
        if self._inside_long_span(position):
            last: int | None = line
        elif position == self.starts[line]:
            last = self._end_of_statement(line, limit)
        else:
            last = self._end_of_logical_line(line, limit)
        if last is None:
            return None
        end = self.starts[last] + len(self.text[self.starts[last] : self.ends[last]].rstrip())
        return end if end <= limit else None

    def _inside_long_span(self, position: int) -> bool:
        number = bisect.bisect_left(self.long_spans, (position, 0)) - 1
        return number >= 0 and position < self.long_spans[number][1]

    def _ends_code(self, line: int) -> bool:
        """Return whether a line ends outside comments and strings, and is not continued by a backslash."""
        end = self.ends[line]
        if end == len(self.text):
            return True
        return self.code[end] == "\n" and not (self.indented and self.code[end - 1 : end] == "\\")

    def _end_of_logical_line(self, line: int, limit: int) -> int | None:
        while line < len(self.starts) and self.starts[line] <= limit:
            if self.complete[line] and self._ends_code(line):
                return line
            line += 1
        return None

    def _end_of_brackets(self, line: int, limit: int) -> int | None:
        """Return the first line, from this one on, that closes every bracket opened since its start."""
        lowest = self.lowest[line]
        while line < len(self.starts) and self.starts[line] <= limit:
            lowest = min(lowest, self.lowest[line])
            if self.last[line] <= lowest and self._ends_code(line):
                return line
            line += 1
        return None

    def _end_of_statement(self, line: int, limit: int) -> int | None:
        last = self._end_of_brackets(line, limit)
        while last is not None and self._is_head(line, last) and self._goes_on(last + 1):
            line = last + 1
            last = self._end_of_brackets(line, limit)
        if last is None or not self.indented or (line and self.last[line - 1]):
            return last
        return self._end_of_block(line, last, limit)

    def _is_head(self, first: int, last: int) -> bool:
        """Return whether lines hold nothing but a comment or annotations."""
        code = self.code[self.starts[first] : self.ends[last]].strip()
        return not code or ANNOTATION.fullmatch(code) is not None

    def _goes_on(self, line: int) -> bool:
        """Return whether a statement can start in a line: it is there, not blank, and closes no bracket."""
        if line >= len(self.starts) or self.is_blank(line):
            return False
        return self.code[self.starts[line] : self.ends[line]].strip()[:1] not in OPENING

    def _end_of_block(self, line: int, last: int, limit: int) -> int | None:
        """Return the last line of the block whose lines are indented deeper than a line."""
        margin, following = self._indentation(line), last + 1
        while following < len(self.starts):
            if not self.is_blank(following):
                if self._indentation(following) < margin:
                    break
                if self._indentation(following) == margin:
                    if self.has_end and following > line + 1 and BLOCK_GOES_ON.match(self._stripped(following)):
                        following += 1
                        continue
                    closes = self.has_end and following > last and END_OF_BLOCK.match(self._stripped(following))
                    return self._end_of_brackets(following, limit) if closes else last
                end = self._end_of_brackets(following, limit)
                if end is None:
                    return None
                last = following = end
            following += 1
        return last

    def _stripped(self, line: int) -> str:
        return self.text[self.starts[line] : self.ends[line]].strip()

    def _indentation(self, line: int) -> int:
        text = self.text[self.starts[line] : self.ends[line]].expandtabs()
        return len(text) - len(text.lstrip())


def end_of_body(text: str) -> int | None:
    """Return where a text that begins with a function's body leaves it, or None as long as it does not.

    All lines of a body are indented, but for those that begin with a closing bracket. A `}` or a line `end` ends it,
    unless its line opens a bracket again (`} else {`); any other line ends it before its beginning.
    """
    for line in NOT_INDENTED.finditer(text):
        if line[0].rstrip() == "end":
            if line.end() < len(text):
                return line.start() + len("end")
        elif line[0][0] not in OPENING:
            return len(text[: line.start()].rstrip())
        elif line[0][0] == "}" and line.end() < len(text) and not OPENED_AGAIN.search(line[0]):
            return line.start() + len(line[0].rstrip())
    return None


def _after(stack: list[str], brackets: Sequence[str]) -> int:
    """Open and close the brackets of a line; return the lowest depth on the way."""
    lowest = len(stack)
    for bracket in brackets:
        opening = OPENING.get(bracket)
        if opening is None:
            stack.append(bracket)
            continue
        if stack and stack[-1] == opening:  # nearly always
            stack.pop()
        else:
            _close(stack, opening)
        lowest = min(lowest, len(stack))
    return lowest


def _close(stack: list[str], opening: str) -> None:
    """Pop up to the matching bracket; a stray `)` or `]` closes no block, so that damage stays local."""
    for number in range(len(stack) - 1, max(-1, len(stack) - 1 - FARTHEST), -1):
        if stack[number] == opening:
            del stack[number:]
            return
        if stack[number] == "{":
            return
