"""Natural ends of pieces of code, from brackets and indentation; no grammar is needed, so it works for any text.

There are two kinds of pieces, and both depend on the text alone, so that a model can learn where to stop:

- A piece that starts inside a line ends with the logical line, which continues while a `(` or `[` is open. In
  indentation-based languages an open `{` continues it too; in languages with braces it does not.
- A piece that starts at a line start is the statement there. It ends with the line that closes every bracket opened
  since; in indentation-based languages the deeper lines that follow belong to it, and in Ruby also the `end` after
  them. Comments and annotations before the statement belong to it.

Inside a multi-line comment or string, every line is a piece.

For the body of a function whose head is given, `end_of_body` has a simpler rule.
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
    """The lines of a text and the nesting of its brackets; lines count from 0, positions are characters."""

    def __init__(self, text: str, language: Language) -> None:
        self.text = text
        self.code, self.long_spans = mask(text, language)
        self.indented = language.blocks != "braces"
        self.has_end = language.blocks == "end"
        self.starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.ends = [*(start - 1 for start in self.starts[1:]), len(text)]
        self._nest()

    def _nest(self) -> None:
        """Record for every line its lowest and last bracket depth, and whether a logical line ends there."""
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
        """Return the line of a position."""
        return bisect.bisect_right(self.starts, position) - 1

    def is_blank(self, line: int) -> bool:
        """Return whether a line holds nothing but white space."""
        return not self.text[self.starts[line] : self.ends[line]].strip()

    def natural_end(self, position: int, limit: int) -> int | None:
        """Return the end of the piece that starts at a position, or None if it is after the limit."""
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
        """Return whether a line ends outside comments and strings and without a backslash that continues it."""
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
        """Return the first line, from this one on, at whose end every bracket opened since its start is closed."""
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
        """Return whether the lines contain only a comment or annotations."""
        code = self.code[self.starts[first] : self.ends[last]].strip()
        return not code or ANNOTATION.fullmatch(code) is not None

    def _goes_on(self, line: int) -> bool:
        """Return whether a statement can start in a line: the line exists, is not blank, and closes no bracket."""
        if line >= len(self.starts) or self.is_blank(line):
            return False
        return self.code[self.starts[line] : self.ends[line]].strip()[:1] not in OPENING

    def _end_of_block(self, line: int, last: int, limit: int) -> int | None:
        """Return the last line of the block that is indented deeper than a line."""
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
    """Return where the function body at the beginning of a text ends, or None if it does not end in the text.

    All lines of a body are indented, except those that start with a closing bracket. A `}` or a line `end` ends it,
    unless its line opens a bracket again (`} else {`); any other unindented line ends the body before that line.
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
    """Apply the brackets of a line to the stack; return the lowest depth reached."""
    lowest = len(stack)
    for bracket in brackets:
        opening = OPENING.get(bracket)
        if opening is None:
            stack.append(bracket)
            continue
        if stack and stack[-1] == opening:  # the common case
            stack.pop()
        else:
            _close(stack, opening)
        lowest = min(lowest, len(stack))
    return lowest


def _close(stack: list[str], opening: str) -> None:
    """Pop up to the matching bracket; a stray `)` or `]` closes no block, so that one error stays local."""
    for number in range(len(stack) - 1, max(-1, len(stack) - 1 - FARTHEST), -1):
        if stack[number] == opening:
            del stack[number:]
            return
        if stack[number] == "{":
            return
