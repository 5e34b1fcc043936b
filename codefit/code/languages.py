"""One row a programming language: suffixes, comment syntax, strings, how a block is written, and its grammar."""

import dataclasses
import posixpath


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """The tree-sitter grammar of a language: its package, and its node types for what the tasks look for.

    `wrappers` hold a definition with its decorators or keywords. A function or class without a child of `bodies` is
    abstract. `dictated` are names that the language or its test frameworks give a function, whatever it does.
    """

    package: str
    functions: tuple[str, ...]
    classes: tuple[str, ...]
    bodies: tuple[str, ...]
    comments: tuple[str, ...]
    dictated: tuple[str, ...]
    wrappers: tuple[str, ...] = ()
    entry: str = "language"  # the package's function that returns the grammar


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """What the toolkit knows of a language.

    `blocks` is "indent" where indentation makes a block (Python) and "braces" where `{` `}` do. `strings` are the
    string delimiters, the longest first; `raw_strings` those in which a backslash escapes nothing.
    """

    name: str
    suffixes: tuple[str, ...]
    line_comments: tuple[str, ...]
    block_comments: tuple[tuple[str, str], ...]
    strings: tuple[str, ...]
    blocks: str
    grammar: Grammar
    raw_strings: tuple[str, ...] = ()


_C_COMMENTS = (("/*", "*/"),)

_PYTHON = Grammar(
    "tree_sitter_python",
    functions=("function_definition",),
    classes=("class_definition",),
    bodies=("block",),
    comments=("comment",),
    dictated=("main", "setUp", "tearDown", "setUpClass", "tearDownClass", "setUpModule", "tearDownModule"),
    wrappers=("decorated_definition",),
)
_KOTLIN = Grammar(
    "tree_sitter_kotlin",
    functions=("function_declaration",),
    classes=("class_declaration", "object_declaration"),
    bodies=("function_body", "class_body", "enum_class_body"),
    comments=("line_comment", "block_comment"),
    dictated=("main", "setUp", "tearDown", "box"),
)
_JAVA = Grammar(
    "tree_sitter_java",
    functions=("method_declaration",),
    classes=("class_declaration", "interface_declaration", "enum_declaration", "record_declaration"),
    bodies=("block", "class_body", "interface_body", "enum_body"),
    comments=("line_comment", "block_comment"),
    dictated=(
        *("main", "setUp", "tearDown"),
        *("toString", "hashCode", "equals", "finalize", "notify", "notifyAll", "clone"),
    ),
)
_JAVASCRIPT = Grammar(
    "tree_sitter_javascript",
    functions=("function_declaration", "generator_function_declaration", "method_definition"),
    classes=("class_declaration",),
    bodies=("statement_block", "class_body"),
    comments=("comment",),
    dictated=("main", "constructor", "toString", "valueOf", "render"),
    wrappers=("export_statement",),
)
_TYPESCRIPT = dataclasses.replace(
    _JAVASCRIPT,
    package="tree_sitter_typescript",
    functions=(*_JAVASCRIPT.functions, "function_signature", "abstract_method_signature", "method_signature"),
    classes=("class_declaration", "abstract_class_declaration", "interface_declaration"),
    bodies=("statement_block", "class_body", "interface_body"),
    entry="language_typescript",
)
_GO = Grammar(
    "tree_sitter_go",
    functions=("function_declaration", "method_declaration"),
    classes=("type_spec",),
    bodies=("block", "struct_type", "interface_type"),
    comments=("comment",),
    dictated=("main", "init", "TestMain", "String", "Error", "Len", "Less", "Swap"),
    wrappers=("type_declaration",),
)

LANGUAGES = {
    row.name: row
    for row in (
        Language("python", (".py", ".pyi"), ("#",), (), ('"""', "'''", '"', "'"), "indent", _PYTHON),
        Language("kotlin", (".kt", ".kts"), ("//",), _C_COMMENTS, ('"""', '"', "'"), "braces", _KOTLIN, ('"""',)),
        Language("java", (".java",), ("//",), _C_COMMENTS, ('"""', '"', "'"), "braces", _JAVA),
        Language(
            "javascript", (".js", ".jsx", ".mjs", ".cjs"), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces", _JAVASCRIPT
        ),
        Language("typescript", (".ts", ".tsx"), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces", _TYPESCRIPT),
        Language("go", (".go",), ("//",), _C_COMMENTS, ('"', "'", "`"), "braces", _GO, ("`",)),
    )
}

BY_SUFFIX = {suffix: row for row in LANGUAGES.values() for suffix in row.suffixes}


def language_of(path: str) -> Language | None:
    """Return the language of a path by its suffix, or None if the table has no row for it."""
    return BY_SUFFIX.get(posixpath.splitext(path)[1].lower())
