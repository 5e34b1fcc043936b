"""One tree-sitter parse per file, shared by all tasks that need syntax.

Positions are characters of the text. A text with syntax errors has a tree too; `has_error` is set then.
"""

import dataclasses
import functools
import importlib
import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tree_sitter

from codefit.code.languages import Grammar, Language
from codefit.code.lexer import BLOCK_COMMENT

Span = tuple[int, int]

STRING = re.compile(r"""[rRuUbB]{0,2}("{3}|'{3}|"|')(.*)\1""", re.DOTALL)
QUALIFIED = {"qualified_identifier"}
NAMES = {"identifier", "field_identifier", "type_identifier", "operator_name", "destructor_name"}
MARKS = re.compile(r"^/\*+!?|\*+/$|^[ \t]*(?:\*(?!/) ?|///?!? ?)", re.MULTILINE)

HASHES = re.compile(r"^[ \t]*#+ ?", re.MULTILINE)
MACROS = re.compile(rb"\w+(?:\s+\w+)*")
XML_DOCUMENTATION = re.compile(r"</?(?:summary|remarks)>[ \t]*")  # tags around the words, in C#

# Kotlin's grammar searches for the end of every comment, nested ones too, and starts again if there is none: a file of
# open comments takes hours. Texts with more open comments times characters than this are not parsed; it allows a
# hundred open comments in 200 kB.
MOST_LOOKING = 20_000_000

# Some grammars take quadratic time on text in another language. Code takes 20 ms for 64 kB.
PIECE = 1 << 16
MOST_MARKS = 500
# Java's grammar cannot be interrupted inside nested type arguments, `a<b<c<...`.
DEEPEST_TYPE = 40
NESTED_TYPES = re.compile(rf"(?:\b\w{{1,64}}\s?<\s?){{{DEEPEST_TYPE}}}")
MARK = "\ufeff".encode()  # a byte order mark
MANY_MARKS = MARK * 64
PARSE_SECONDS = 0.5  # processor time for a piece
# Queries take quadratic time on a node with many children, which only a tree with many nodes can have; trees with
# errors are the worst.
DEEPEST_TREE, WIDEST_NODE = 300, 3_000
MOST_QUERIED, MOST_QUERIED_WITH_ERRORS = 20_000, 4_000


@dataclasses.dataclass(frozen=True, slots=True)
class Definition:
    """A function or a class.

    Attributes:
        name: its name.
        span: the whole definition, with decorators and modifiers, without a comment above it.
        head: its start after the decorators.
        name_span: the span of its name.
        body: the span of its body with its braces; None if it is abstract.
        docstring: the span of the docstring or comment that documents it, with its marks; None if there is none.
    """

    name: str
    span: Span
    head: int
    name_span: Span
    body: Span | None
    docstring: Span | None


class Syntax:
    """The tree of one text. The path selects the grammar if a language has two, such as `.ts` and `.tsx`."""

    def __init__(self, text: str, language: Language, path: str = "") -> None:
        self.text = text
        self.language = language
        self.grammar: Grammar = language.grammar_of(path)
        self._source = text.encode("utf-8", "surrogatepass")
        self._characters = None if len(self._source) == len(text) else _characters(self._source)
        marks = Counter(BLOCK_COMMENT.findall(text))
        hopeless = (marks["/*"] - marks["*/"]) * len(text) > MOST_LOOKING
        # Python's grammar cannot be interrupted inside runs of `/*`; real files have few.
        hopeless = hopeless or (not language.block_comments and marks["/*"] > MOST_MARKS)
        # Kotlin's grammar does not terminate if the text ends with an annotation after a class.
        hopeless = hopeless or (text.count("<") > DEEPEST_TYPE and NESTED_TYPES.search(text) is not None)
        root = None if hopeless else _root(self.grammar, self._source + b"\n")
        self.root: Any = _root(self.grammar, b"") if root is None else root
        self.has_error: bool = root is None or root.has_error

    def span(self, node: Any) -> Span:
        """Return the span of a node in characters."""
        return self._character(node.start_byte), self._character(node.end_byte)

    def _character(self, byte: int) -> int:
        byte = min(byte, len(self._source))  # a node may include the line end that was appended for the parser
        return byte if self._characters is None else int(self._characters[byte])

    def _byte(self, character: int) -> int:
        return character if self._characters is None else int(np.searchsorted(self._characters, character))

    def errors(self) -> int:
        """Return the number of places that the grammar cannot parse."""
        return len(self._nodes("ERROR", "MISSING"))

    def unread_functions(self) -> int:
        """Return how many functions are missing from `functions` because of syntax errors in or around them."""
        if not self.has_error:
            return 0
        nodes = self._nodes(*self.grammar.functions)
        lost = (any(part.type == self.grammar.parameters for part in node.children) for node in self._nodes("ERROR"))
        return sum(map(self._is_broken, nodes)) + sum(lost)

    def comments(self) -> list[Span]:
        """Return the comments in order; a line comment ends before its line end."""
        spans = sorted(map(self.span, self._nodes(*self.grammar.comments)))
        return [(start, start + len(self.text[start:end].rstrip("\n"))) for start, end in spans]

    def shape(self) -> str:
        """Return the tree without comments as a text; it is equal for texts that differ only in layout."""
        if self.root.descendant_count <= MOST_QUERIED:
            return re.sub(rf"\s*\((?:{'|'.join(self.grammar.comments)})\)", "", str(self.root))
        # str() calls itself for every level, and a deep tree would overflow the stack
        return " ".join(f"{depth}{node.type}" for depth, node in _walk(self.root) if self._has_shape(node))

    def _has_shape(self, node: Any) -> bool:
        return node.is_missing or (node.is_named and node.type not in self.grammar.comments)

    def _nodes(self, *patterns: str) -> list[Any]:
        """Return the nodes of the given types; ` field: (_)` may follow a type."""
        if self.root.descendant_count <= (MOST_QUERIED_WITH_ERRORS if self.has_error else MOST_QUERIED):
            return list(_query(self.grammar, patterns).captures(self.root).get("found", []))
        wanted = {pattern.partition(" ")[0]: pattern.partition(" ")[2].partition(":")[0] for pattern in patterns}
        found = (
            node for _, node in _walk(self.root) if node.type in wanted or (node.is_missing and "MISSING" in wanted)
        )
        return [n for n in found if not (field := wanted.get(n.type)) or n.child_by_field_name(field) is not None]

    @functools.cached_property
    def _is_tangled(self) -> bool:
        """Return whether the tree has errors and is so deep or wide that queries on it are slow."""
        return self.has_error and _is_large(self.root)

    def nodes_at(self, character: int) -> Iterator[Any]:
        """Yield the named nodes that contain a character, the smallest first; none in a large tree with errors."""
        if self._is_tangled:
            return
        byte = self._byte(character)
        node = self.root.named_descendant_for_byte_range(byte, byte + 1)
        while node is not None:
            yield node
            node = node.parent

    def _line_start(self, position: int) -> int:
        return self.text.rfind("\n", 0, position) + 1

    def functions(self) -> list[Definition]:
        """Return the functions of the text in order, including nested ones."""
        return self._definitions(self.grammar.functions)

    def classes(self) -> list[Definition]:
        """Return the classes of the text in order, including nested ones."""
        return self._definitions(self.grammar.classes)

    def _definitions(self, types: Sequence[str]) -> list[Definition]:
        nodes = self._nodes(*types)
        found = (self._definition(node) for node in sorted(nodes, key=lambda node: node.start_byte))
        return [definition for definition in found if definition is not None]

    def _definition(self, node: Any) -> Definition | None:
        name = _name_of(node)
        if name is None or self._is_broken(node):
            return None
        outer = node
        while outer.parent is not None and outer.parent.type in self.grammar.wrappers:
            outer = outer.parent
        span = self.span(self._first_attribute(outer))[0], self.span(outer)[1]
        body = next((child for child in node.children if child.type in self.grammar.bodies), None)
        body = body or node.child_by_field_name("body")
        return Definition(
            name=name.text.decode("utf-8", "replace"),
            span=span,
            head=self.span(node)[0],
            name_span=self.span(name),
            body=None if body is None else self.span(body),
            docstring=self._comment_above(span[0]) if self.language.blocks != "indent" else self._docstring_in(body),
        )

    def _is_broken(self, definition: Any) -> bool:
        """Return whether a definition has a syntax error that is more than a macro before its body."""
        nodes = [definition]
        while nodes:
            node = nodes.pop()
            if not node.has_error:
                continue
            if not self.grammar.has_macros or node.is_missing or node.type in self.grammar.bodies:
                return True
            if node.type != "ERROR":
                nodes += node.children
            elif not MACROS.fullmatch(node.text):
                return True
        return False

    def _first_attribute(self, node: Any) -> Any:
        """Return the first attribute before a node, such as `#[derive(...)]` in Rust, or the node itself."""
        while (before := node.prev_named_sibling) is not None and before.type in self.grammar.attributes:
            node = before
        return node

    def _docstring_in(self, body: Any) -> Span | None:
        if body is None:
            return None
        statement = next((child for child in body.named_children if child.type not in self.grammar.comments), None)
        if statement is None or statement.type != "expression_statement" or statement.named_child_count != 1:
            return None
        string = statement.named_children[0]
        return self.span(string) if string.type == "string" and STRING.fullmatch(string.text.decode()) else None

    def _comment_above(self, start: int) -> Span | None:
        """Return the block comment or line comments that end on the line above a position."""
        text, line = self.text, self._line_start(start)
        if line == 0 or text[line:start].strip():
            return None
        end = above = line - 1
        while above > 0 and text[self._line_start(above) : above].lstrip().startswith(self.language.line_comments):
            above = self._line_start(above) - 1
        if above < end:
            first = above + 1
            return first + len(text[first:end]) - len(text[first:end].lstrip()), end
        opened = text.rfind("/*", 0, end) if text[self._line_start(end) : end].rstrip().endswith("*/") else -1
        if opened < 0 or text[self._line_start(opened) : opened].strip():
            return None
        return opened, end

    def members(self, definition: Definition) -> list[Span]:
        """Return the members in the body of a class or function, in order, without comments."""
        if definition.body is None:
            return []
        node = self.root.descendant_for_byte_range(*map(self._byte, definition.body))
        while node is not None and node.type not in self.grammar.bodies:
            node = node.parent  # a single member has the same span as the body
        children = [] if node is None else node.named_children
        return [self.span(child) for child in children if child.type not in self.grammar.comments]

    def documentation(self, definition: Definition) -> str:
        """Return the text of a docstring or comment without its marks and indentation; "" if there is none."""
        if definition.docstring is None:
            return ""
        text = self.text[slice(*definition.docstring)]
        if self.language.blocks == "indent":
            match = STRING.fullmatch(text)
            return inspect.cleandoc(match[2]).strip() if match else ""
        words = (HASHES if text.startswith("#") else MARKS).sub("", text)
        return inspect.cleandoc("\n" + XML_DOCUMENTATION.sub("", words)).strip()


def _name_of(node: Any) -> Any | None:
    """Return the node of a definition's name; in C it is inside declarators, and in C++ also after `Class::`."""
    while node is not None:
        name = node.child_by_field_name("name")
        if name is not None and name.type not in QUALIFIED:
            return name
        inner = name or node.child_by_field_name("declarator")
        if inner is None and node.type in {"reference_declarator", "parenthesized_declarator"}:
            inner = node.named_children[-1] if node.named_children else None
        if inner is not None and not inner.child_count and inner.type in NAMES:
            return inner
        node = inner
    return None


def _walk(root: Any) -> Iterator[tuple[int, Any]]:
    """Yield the depth and the node of every node of a tree in text order."""
    cursor, depth = root.walk(), 0  # the cursor's own depth takes time proportional to it
    while True:
        yield depth, cursor.node
        if cursor.goto_first_child():
            depth += 1
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return
            depth -= 1


def _is_large(root: Any) -> bool:
    """Return whether a tree is deeper than DEEPEST_TREE, or a node in it has more children than WIDEST_NODE."""
    cursor = root.walk()
    while cursor.depth <= DEEPEST_TREE and cursor.node.child_count <= WIDEST_NODE:
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return False
    return True


def _characters(source: bytes) -> Any:
    """Return, for each byte and for the end, how many characters start before it; shape (bytes + 1,)."""
    begins = (np.frombuffer(source, np.uint8) & 0xC0) != 0x80
    return np.concatenate([[0], np.cumsum(begins)])


@functools.cache
def keywords(language: Language) -> frozenset[str]:
    """Return the words that the grammars of a language treat as fixed, such as `class`."""
    found = set()
    for each in (language.grammar, *(other for _, other in language.dialects)):
        grammar = _grammar(each)
        kinds = (n for n in range(grammar.node_kind_count) if grammar.node_kind_is_visible(n))
        found |= {grammar.node_kind_for_id(n) for n in kinds if not grammar.node_kind_is_named(n)}
    return frozenset(word for word in found if word and word.isidentifier())


@functools.cache
def _grammar(grammar: Grammar) -> tree_sitter.Language:
    return tree_sitter.Language(getattr(importlib.import_module(grammar.package), grammar.entry)())


def _root(grammar: Grammar, source: bytes) -> Any | None:
    """Return the root of the tree of a source, or None if the parser takes too long."""
    limit = time.thread_time() + PARSE_SECONDS * max(1, len(source) / PIECE)
    if MANY_MARKS in source:  # Scala's scanner takes quadratic time, in which it cannot be stopped
        source = source.replace(MARK, b" " * len(MARK))
    parser = tree_sitter.Parser(_grammar(grammar))
    try:
        tree = parser.parse(
            lambda start, _: source[start : start + PIECE],
            progress_callback=lambda *_: time.thread_time() > limit,
        )
    except ValueError:  # the parser raises this when it was stopped
        return None
    return tree.root_node


@functools.cache
def _compiled(grammar: Grammar, types: tuple[str, ...]) -> tree_sitter.Query:
    return tree_sitter.Query(_grammar(grammar), "[" + " ".join(f"({kind})" for kind in types) + "] @found")


def _query(grammar: Grammar, types: tuple[str, ...]) -> tree_sitter.QueryCursor:
    return tree_sitter.QueryCursor(_compiled(grammar, types))
