"""Code blocks of documentation pages: fenced blocks of Markdown, `code-block` of RST, `<pre><code>` of HTML.

Pages also include whole files by their path: FastAPI's `{* ../../docs_src/x.py hl[1] *}`, mdx_include's
`{!../../docs_src/x.py!}`, the `--8<-- "x.py"` of MkDocs' snippets, `literalinclude` of Sphinx. Such a path is looked
up among the files of the source, relative to the page and to each folder above it (documentation tools start from the
folder of their configuration); nothing else is ever opened.
"""

import dataclasses
import html
import posixpath
import re
from collections.abc import Container, Iterator

from codefit.code.languages import BY_SUFFIX, LANGUAGES, Language
from codefit.records import Rejection

MARKDOWN, RST, HTML = (".md", ".markdown", ".mdx"), (".rst",), (".html", ".htm")
ALIASES = {"python3": "python", "py3": "python", "golang": "go"}
DEEPEST = 3  # nesting of Markdown in Markdown: a fence in an indented admonition in another one

INCLUDE = re.compile(
    r"""\{\*\s*(?P<fastapi>[^\s*]+)[^*]*\*\}             # {* path ln[1:3] hl[2] *}
      | \{!>?\s*(?P<mdx>[^!]+?)\s*!\}                    # {!> path !}
      | -{1,}8<-{1,}\s+["'](?P<snippet>[^"']+)["']       # --8<-- "path:section"
    """,
    re.X,
)
LISTING = re.compile(r"^([ \t]*)-+8<-+[ \t]*\n(.*?)\n[ \t]*-+8<-+[ \t]*$", re.M | re.S)  # paths between two `--8<--`
SECTION = re.compile(r":[\w.:-]*$")  # the end of a snippet's path: lines, or the name of a section
FENCE = re.compile(r"^[ \t]*(?:```|~~~|\{[*!]|-+8<)", re.M)  # or an include
DIRECTIVE = re.compile(r"^(\s*)\.\. (code-block|code|sourcecode|literalinclude)::[ \t]*(\S*)[^\n]*$")

ATTRIBUTES = r"""(?>(?:[^<>"']|"[^"]{0,4000}"|'[^']{0,4000}')*)"""
HIDDEN = r"<!--(?s:.*?)(?:-->|\Z)"
TAG = re.compile(
    rf"{HIDDEN}|<(?P<raw>script|style)\b(?s:.*?)(?:</(?P=raw)|\Z)"
    rf"|<(?P<closes>/)?(?P<name>pre|code)(?=[\s/>])(?P<attributes>{ATTRIBUTES})>",
    re.I,
)
OTHER_TAG = re.compile(rf"{HIDDEN}|</?[A-Za-z]{ATTRIBUTES}>")
CLASS = re.compile(
    r"""(?:^|\s)class\s*=\s*(?:(?P<mark>["'])(?P<quoted>.*?)(?P=mark)|(?P<bare>[^\s"'>]+))""", re.I | re.S
)


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """A block of code. `path` is the page's path, `#block-` and its number; `includes` are the files it includes."""

    path: str
    language: Language | None
    content: str
    includes: tuple[str, ...] = ()
    rejection: Rejection | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class _Found:
    """What a parser found: a block with its language as the page names it, or the path of a file to include."""

    said: str
    content: str
    include: str = ""


def is_page(path: str) -> bool:
    """Return whether a file is a page that can have code blocks."""
    return posixpath.splitext(path)[1].lower() in {*MARKDOWN, *RST, *HTML}


def code_blocks(path: str, text: str, files: Container[str]) -> Iterator[Block]:
    """Yield the code blocks of a page in order.

    Blocks of all languages are numbered together, so that a number does not depend on the languages that are wanted.

    Args:
        files: all paths of the source.
    """
    suffix = posixpath.splitext(path)[1].lower()
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _markdown(text) if suffix in MARKDOWN else _rst(text) if suffix in RST else _html(text)
    for number, block in enumerate(found, 1):
        name = f"{path}#block-{number}"
        if block.include:
            target = _resolved(path, block.include, files)
            if isinstance(target, Rejection):
                yield Block(name, None, "", rejection=target)
            else:
                yield Block(name, None, "", includes=(target,))
        elif not block.said:
            yield Block(name, None, block.content, rejection=Rejection("no language"))
        else:
            yield Block(name, language_named(block.said), block.content)


def language_named(said: str) -> Language | None:
    """Return the language that a fence names: `python`, `Py`, `{ .python .annotate }`, `python hl_lines="1"`."""
    words = re.findall(r"[\w+#-]+", said.lower())
    name = ALIASES.get(words[0], words[0]) if words else ""
    return LANGUAGES.get(name) or BY_SUFFIX.get(f".{name}")


def _resolved(page: str, target: str, files: Container[str]) -> str | Rejection:
    """Return the file of the source that a page includes, or the reason why there is none."""
    folder = posixpath.dirname(page)
    inside = False
    while True:
        path = posixpath.normpath(posixpath.join(folder, target.lstrip("/")))
        if not path.startswith("../"):
            inside = True
            if path in files:
                return path
        if not folder:
            return Rejection("include is not there" if inside else "include leaves the source", target)
        folder = posixpath.dirname(folder)


# ------------------------------------------------------------------------------------------- Markdown


def _markdown(text: str, depth: int = 0) -> Iterator[_Found]:
    from markdown_it import MarkdownIt

    for token in MarkdownIt("commonmark").disable("inline").parse(LISTING.sub(_singly, text)):  # only blocks are needed
        if token.type == "fence":
            yield from _fence(token.info.strip(), token.content)
        elif token.type == "inline":
            yield from (_Found("", "", include) for include in _includes(token.content))
        elif token.type == "html_block":
            yield from _html(token.content)
        elif token.type == "code_block" and depth < DEEPEST and FENCE.search(token.content):
            # The indented text after `!!! note` and `=== "Tab"` is code in CommonMark, but Markdown in MkDocs.
            yield from _markdown(token.content, depth + 1)


def _fence(said: str, content: str) -> Iterator[_Found]:
    """Yield a fence as a block, or the files that its lines include."""
    said = "" if said.startswith(("hl_lines", "title", "linenums")) else said
    includes = list(_includes(content)) if not said or language_named(said) else []
    yield from (_Found(said, "", include) for include in includes)
    lines = [line for line in content.splitlines(keepends=True) if not (includes and INCLUDE.search(line))]
    if not includes or "".join(lines).strip():
        yield _Found(said, "".join(lines))


def _includes(text: str) -> Iterator[str]:
    """Yield the paths of includes that are alone in a line."""
    for line in map(str.strip, text.splitlines()):
        if match := INCLUDE.fullmatch(line):
            yield match["fastapi"] or match["mdx"] or SECTION.sub("", match["snippet"])


def _singly(listing: re.Match[str]) -> str:
    """Return one include for each path in a list between two `--8<--`; the list may have blank lines."""
    paths = filter(None, map(str.strip, listing[2].splitlines()))
    return "\n".join(f'{listing[1]}--8<-- "{path}"' for path in paths)


# ------------------------------------------------------------------------------------------- RST


def _rst(text: str) -> Iterator[_Found]:
    """Find directives by their indentation alone.

    A full parser (docutils) would drop every directive of Sphinx or of a theme that it does not know, with the blocks
    inside.
    """
    lines = text.expandtabs(8).splitlines()
    for number, line in enumerate(lines):
        if match := DIRECTIVE.match(line):
            indent, kind, said = len(match[1]), match[2], match[3]
            if kind == "literalinclude":
                yield _Found("", "", said)
            elif content := _indented(lines[number + 1 :], indent):
                yield _Found(said, content)


def _indented(lines: list[str], indent: int) -> str:
    """Return the content of a directive, without its options and indentation."""
    body = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    while body and body[0].strip():  # options come before the first empty line
        body.pop(0)
    margin = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    text = "\n".join(line[margin:].rstrip() for line in body).strip("\n")
    return text + "\n" if text else ""


# ------------------------------------------------------------------------------------------- HTML


def _html(text: str) -> Iterator[_Found]:
    """Yield each `<pre><code class="language-x">`. A parser of HTML takes quadratic time on tags that do not end."""
    opened = inside_pre = False
    said, start = "", 0
    for tag in TAG.finditer(text):
        name = (tag["name"] or "").lower()
        if tag["closes"] is None:
            if name == "pre":
                inside_pre = True
            elif name == "code" and inside_pre and not opened:
                said, start, opened = _said(tag["attributes"]), tag.end(), True
            continue
        if name and opened:
            content = html.unescape(OTHER_TAG.sub("", text[start : tag.start()])).strip("\n")
            if content:
                yield _Found(said, content + "\n")
            opened = False
        inside_pre = inside_pre and name != "pre"


def _said(attributes: str) -> str:
    """Return the language that the class of an element names; "" without one."""
    value = CLASS.search(attributes)
    classes = html.unescape((value["quoted"] or value["bare"] or "") if value else "").split()
    named = (name.partition("-")[2] for name in classes if name.startswith(("language-", "lang-")))
    return next(named, "")
