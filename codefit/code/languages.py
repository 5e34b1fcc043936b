"""The table of programming languages: suffixes, comment syntax, strings, block syntax and grammar of each."""

import dataclasses
import posixpath
from collections import Counter
from collections.abc import Iterable
from typing import Any

from codefit.errors import UserError

MINOR = 0.1  # share of the code files below which a language is not one of the main ones


@dataclasses.dataclass(frozen=True, slots=True)
class Grammar:
    """The tree-sitter grammar of a language: its package, and the node types that the tasks need.

    Attributes:
        package: the Python package that holds the grammar.
        functions: node types of functions; the rest of a query pattern may follow the type: `"method body: (_)"`.
        classes: node types of classes, written in the same way.
        bodies: node types of bodies. A definition that has neither such a node nor a field `body` is abstract.
        comments: node types of comments.
        parameters: node type of a parameter list, used to recognise functions where the tree is broken.
        dictated: function names that the language or its test frameworks prescribe, whatever the function does.
        wrappers: node types that wrap a definition together with its decorators or keywords.
        attributes: node types of siblings that precede a definition and belong to it.
        entry: the function of the package that returns the grammar.
        has_macros: whether a word before a body that does not parse is a macro: `int WINAPI f(void)`.
    """

    package: str
    functions: tuple[str, ...]
    classes: tuple[str, ...]
    bodies: tuple[str, ...]
    comments: tuple[str, ...]
    parameters: str
    dictated: tuple[str, ...]
    wrappers: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    entry: str = "language"
    has_macros: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Language:
    """What codefit knows about a language.

    Attributes:
        name: as used by the flags.
        suffixes: suffixes of its files.
        line_comments: what opens a comment that ends with the line.
        block_comments: pairs of what opens and what closes a block comment.
        strings: the string delimiters, the longest first.
        blocks: how a block is marked: "indent" by indentation, "braces" by `{` `}`, "end" by a line `end`.
        grammar: the grammar of its files.
        raw_strings: delimiters of strings without backslash escapes.
        long_strings: delimiters of one character whose strings may contain line ends.
        literals: regular expressions of other literals; what a group `code...` matches is code, the rest is a string.
        nested_comments: whether a block comment can hold another one.
        dialects: suffixes whose files have another grammar.
        aliases: names that data sets give the language, in lower case.
    """

    name: str
    suffixes: tuple[str, ...]
    line_comments: tuple[str, ...]
    block_comments: tuple[tuple[str, str], ...]
    strings: tuple[str, ...]
    blocks: str
    grammar: Grammar
    raw_strings: tuple[str, ...] = ()
    long_strings: tuple[str, ...] = ()
    literals: tuple[str, ...] = ()
    nested_comments: bool = False
    dialects: tuple[tuple[str, Grammar], ...] = ()
    aliases: tuple[str, ...] = ()

    def grammar_of(self, path: str) -> Grammar:
        """Return the grammar of a file."""
        return dict(self.dialects).get(posixpath.splitext(path)[1].lower(), self.grammar)


_C_COMMENTS = (("/*", "*/"),)

_PYTHON = Grammar(
    "tree_sitter_python",
    functions=("function_definition",),
    classes=("class_definition",),
    bodies=("block",),
    comments=("comment",),
    parameters="parameters",
    dictated=("main", "setUp", "tearDown", "setUpClass", "tearDownClass", "setUpModule", "tearDownModule"),
    wrappers=("decorated_definition",),
)
_KOTLIN = Grammar(
    "tree_sitter_kotlin",
    functions=("function_declaration",),
    classes=("class_declaration", "object_declaration"),
    bodies=("function_body", "class_body", "enum_class_body"),
    comments=("line_comment", "block_comment"),
    parameters="function_value_parameters",
    dictated=("main", "setUp", "tearDown", "box"),
)
_JAVA = Grammar(
    "tree_sitter_java",
    functions=("method_declaration",),
    classes=("class_declaration", "interface_declaration", "enum_declaration", "record_declaration"),
    bodies=("block", "class_body", "interface_body", "enum_body"),
    comments=("line_comment", "block_comment"),
    parameters="formal_parameters",
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
    parameters="formal_parameters",
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
_TSX = dataclasses.replace(_TYPESCRIPT, entry="language_tsx")
_GO = Grammar(
    "tree_sitter_go",
    functions=("function_declaration", "method_declaration"),
    classes=("type_spec",),
    bodies=("block", "struct_type", "interface_type"),
    comments=("comment",),
    parameters="parameter_list",
    dictated=("main", "init", "TestMain", "String", "Error", "Len", "Less", "Swap"),
    wrappers=("type_declaration",),
)

_C = Grammar(
    "tree_sitter_c",
    functions=("function_definition",),
    classes=("struct_specifier body: (_)", "union_specifier body: (_)", "enum_specifier body: (_)"),
    bodies=("compound_statement", "field_declaration_list", "enumerator_list"),
    comments=("comment",),
    parameters="parameter_list",
    dictated=("main", "WinMain", "DllMain", "setUp", "tearDown"),
    wrappers=("type_definition",),
    has_macros=True,
)
_CPP = dataclasses.replace(
    _C,
    package="tree_sitter_cpp",
    functions=("function_definition type: (_)",),  # constructors and destructors have no type
    classes=("class_specifier body: (_)", *_C.classes),
    dictated=(*_C.dictated, "SetUp", "TearDown"),
    wrappers=("template_declaration", "type_definition"),
)
_CSHARP = Grammar(
    "tree_sitter_c_sharp",
    functions=("method_declaration", "local_function_statement"),
    classes=(
        *("class_declaration", "interface_declaration", "struct_declaration", "enum_declaration"),
        "record_declaration",
    ),
    bodies=("block", "declaration_list", "enum_member_declaration_list", "arrow_expression_clause"),
    comments=("comment",),
    parameters="parameter_list",
    dictated=("Main", "ToString", "GetHashCode", "Equals", "Finalize", "Dispose", "Clone", "SetUp", "TearDown"),
)
_RUST = Grammar(
    "tree_sitter_rust",
    functions=("function_item", "function_signature_item"),
    classes=("struct_item", "enum_item", "union_item", "trait_item"),
    bodies=(
        "block",
        "field_declaration_list",
        "ordered_field_declaration_list",
        "enum_variant_list",
        "declaration_list",
    ),
    comments=("line_comment", "block_comment"),
    parameters="parameters",
    dictated=("main", "fmt", "drop", "clone", "default", "from", "into", "eq", "cmp", "partial_cmp", "hash", "deref"),
    attributes=("attribute_item",),
)
_PHP = Grammar(
    "tree_sitter_php",
    functions=("function_definition", "method_declaration"),
    classes=("class_declaration", "interface_declaration", "trait_declaration", "enum_declaration"),
    bodies=("compound_statement", "declaration_list", "enum_declaration_list"),
    comments=("comment",),
    parameters="formal_parameters",
    dictated=("setUp", "tearDown", *(f"__{name}" for name in ("construct", "destruct", "get", "set", "call", "clone"))),
    entry="language_php",
)
_RUBY = Grammar(
    "tree_sitter_ruby",
    functions=("method", "singleton_method"),
    classes=("class", "module"),
    bodies=("body_statement",),
    comments=("comment",),
    parameters="method_parameters",
    dictated=("initialize", "to_s", "inspect", "hash", "each", "call", "setup", "teardown", "method_missing"),
)
_SWIFT = Grammar(
    "tree_sitter_swift",
    functions=("function_declaration", "protocol_function_declaration"),
    classes=("class_declaration", "protocol_declaration"),
    bodies=("function_body", "class_body", "enum_class_body", "protocol_body"),
    comments=("comment", "multiline_comment"),
    parameters="parameter",
    dictated=("main", "setUp", "tearDown", "setUpWithError", "tearDownWithError", "hash", "encode"),
)
_SCALA = Grammar(
    "tree_sitter_scala",
    functions=("function_definition", "function_declaration"),
    classes=("class_definition", "object_definition", "trait_definition", "enum_definition"),
    bodies=("block", "indented_block", "template_body", "enum_body"),
    comments=("comment", "block_comment"),
    parameters="parameters",
    dictated=("main", "toString", "hashCode", "equals", "apply", "unapply", "clone", "finalize"),
)

# A slash starts a regular expression after an operator, a bracket or a keyword that must be followed by a value. What
# contains a quote or two slashes between two tags is JSX text, not code.
_JAVASCRIPT_LITERALS = (
    r"(?P<code_before>[=(,:\[!&|?{;+*%~^>\n-]\s{0,80}+|\b(?:return|case|typeof)[ \t]{1,80}+)(?=/[^*/>\s])"
    r"/(?>(?:[^/\\\[\n]|\\.|\[(?>(?:[^\]\\\n]|\\.){0,400})\])+)/\w*",
    r"(?P<code_tag>(?<![=\s-])>)(?=[^<>{}\"'`/;]*(?:[\"'`]|//))[^<>{};]*(?=</|<[A-Za-z]\w*[ />])",
)
_CPP_LITERALS = (
    r"(?P<code_number>(?<![\w'.])[0-9][\w.]*+(?:'[0-9A-Fa-f][\w.]*+)+)",
    r"\b(?:u8|[uUL])?R\"(?P<mark>[^()\\\s\"]{0,16})\((?s:.*?)(?:\)(?P=mark)\"|\Z)",
)
_CSHARP_LITERALS = (r"(?:@\$|\$@|@)\"(?>(?:[^\"]|\"\")*)\"?",)
_RUST_LITERALS = (
    r"\bb?r(?P<marks>#{1,8})\"(?s:.*?)(?:\"(?P=marks)|\Z)",
    r"\bb?r\"[^\"]*\"?",
    r"(?P<code_lifetime>'[A-Za-z_]\w*+(?!'))",
)
_PHP_LITERALS = (
    r"(?P<code_attribute>#\[)",
    r"<<<[ \t]*[\"']?(?P<word>[A-Za-z_]\w*)[\"']?\n(?s:.*?)(?:\n[ \t]*(?P=word)\b|\Z)",
)
_RUBY_LITERALS = (
    r"^=begin\b(?s:.*?)(?:^=end\b[^\n]*|\Z)",
    r"(?P<code_heredoc><<[~-]?[\"'`]?(?P<word>[A-Z]\w*)[\"'`]?[^\n]*\n)(?s:.*?)(?:^[ \t]*(?P=word)$|\Z)",
    r"(?P<code_before>[=(,\[!&|?{;~\n]\s{0,80}+|\b(?:if|unless|when|and|or|not)[ \t]{1,80}+)(?=/[^*/>\s=])"
    r"/(?>(?:[^/\\\n]|\\.)+)/\w*",
    r"%[wWiIqQ]?(?:\[[^\]\n]{0,1000}\]|\{[^}\n]{0,1000}\}|\([^)\n]{0,1000}\)|<[^>\n]{0,1000}>)",
    r"(?P<code_character>\?[\"'#](?!\w))",
)
_SWIFT_LITERALS = (r"(?P<marks>#{1,3})\"(?s:.*?)(?:\"(?P=marks)|\Z)",)
_SCALA_LITERALS = (r"(?P<code_symbol>'[A-Za-z_]\w*+(?!'))",)

_QUOTES = ('"', "'")
_BRACES: dict[str, Any] = {"line_comments": ("//",), "block_comments": _C_COMMENTS, "blocks": "braces"}

LANGUAGES = {
    row.name: row
    for row in (
        Language("python", (".py", ".pyi"), ("#",), (), ('"""', "'''", *_QUOTES), "indent", _PYTHON),
        Language(
            "kotlin",
            (".kt", ".kts"),
            strings=('"""', *_QUOTES),
            grammar=_KOTLIN,
            raw_strings=('"""',),
            nested_comments=True,
            **_BRACES,
        ),
        Language("java", (".java",), strings=('"""', *_QUOTES), grammar=_JAVA, **_BRACES),
        Language(
            "javascript",
            (".js", ".jsx", ".mjs", ".cjs"),
            strings=(*_QUOTES, "`"),
            grammar=_JAVASCRIPT,
            long_strings=("`",),
            literals=_JAVASCRIPT_LITERALS,
            **_BRACES,
        ),
        Language(
            "typescript",
            (".ts", ".tsx", ".mts", ".cts"),
            strings=(*_QUOTES, "`"),
            grammar=_TYPESCRIPT,
            long_strings=("`",),
            literals=_JAVASCRIPT_LITERALS,
            dialects=((".tsx", _TSX),),
            aliases=("tsx",),
            **_BRACES,
        ),
        Language("go", (".go",), strings=(*_QUOTES, "`"), grammar=_GO, raw_strings=("`",), **_BRACES),
        # a header can be C or C++: the grammar of C++ reads both
        Language("c", (".c", ".h"), strings=_QUOTES, grammar=_C, dialects=((".h", _CPP),), **_BRACES),
        Language(
            "cpp",
            (".cpp", ".cc", ".cxx", ".hpp", ".hh", ".hxx", ".ipp", ".inl"),
            strings=_QUOTES,
            grammar=_CPP,
            literals=_CPP_LITERALS,
            aliases=("c++",),
            **_BRACES,
        ),
        Language(
            "csharp",
            (".cs", ".csx"),
            strings=('"""', *_QUOTES),
            grammar=_CSHARP,
            raw_strings=('"""',),
            literals=_CSHARP_LITERALS,
            aliases=("c#", "c-sharp"),
            **_BRACES,
        ),
        Language(
            "rust",
            (".rs",),
            strings=_QUOTES,
            grammar=_RUST,
            long_strings=('"',),
            literals=_RUST_LITERALS,
            nested_comments=True,
            **_BRACES,
        ),
        Language(
            "php",
            (".php", ".phtml", ".inc"),
            ("//", "#"),
            _C_COMMENTS,
            _QUOTES,
            "braces",
            _PHP,
            long_strings=_QUOTES,
            literals=_PHP_LITERALS,
        ),
        Language(
            "ruby",
            (".rb", ".rake", ".gemspec"),
            ("#",),
            (),
            _QUOTES,
            "end",
            _RUBY,
            long_strings=_QUOTES,
            literals=_RUBY_LITERALS,
        ),
        Language(
            "swift",
            (".swift",),
            strings=('"""', '"'),
            grammar=_SWIFT,
            literals=_SWIFT_LITERALS,
            nested_comments=True,
            **_BRACES,
        ),
        Language(
            "scala",
            (".scala", ".sc"),
            strings=('"""', *_QUOTES),
            grammar=_SCALA,
            raw_strings=('"""',),
            literals=_SCALA_LITERALS,
            nested_comments=True,
            **_BRACES,
        ),
    )
}

BY_NAME = {name: row for row in LANGUAGES.values() for name in (row.name, *row.aliases)}
BY_SUFFIX = {suffix: row for row in LANGUAGES.values() for suffix in row.suffixes}


def language_of(path: str, name: str = "") -> Language | None:
    """Return the language by the name in a record, else by the path's suffix; None if the table lacks it."""
    return BY_NAME.get(name.lower()) or BY_SUFFIX.get(posixpath.splitext(path)[1].lower())


def languages_in(paths: Iterable[str]) -> Counter[str]:
    """Return how many files with these paths are of each language.

    Raises:
        UserError: there is no code.
    """
    counts = Counter(row.name for path in paths if (row := language_of(path)))
    if not counts:
        raise UserError("there is no code in a known language; give another repository.")
    return counts


def main_languages(counts: Counter[str]) -> list[str]:
    """Return the languages that have at least MINOR of the code files, the most frequent first."""
    return [name for name, count in counts.most_common() if count >= MINOR * counts.total()]
