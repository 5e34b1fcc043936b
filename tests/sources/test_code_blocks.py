"""The code of documentation pages: fences, directives, `<pre><code>`, and the files that pages include by path."""

import pytest

from codefit.records import Rejection
from codefit.sources.code_blocks import code_blocks, language_named
from tests.support.sources import git, parse, project, rejections, tar_of


def blocks(path, text, files=()):
    """Return (number, language, content, files or name of the rule) of each block."""
    found = []
    for block in code_blocks(path, text, files):
        page, _, number = block.path.partition("#block-")
        assert page == path
        rule = block.rejection.rule if block.rejection else None
        found.append((int(number), block.language and block.language.name, block.content, rule or block.includes))
    return found


MARKDOWN = """
# A page

```python hl_lines="1"
a = 1
```

1. in a list

   ~~~~ { .kotlin .annotate }
   val a = 1
   ```
   ~~~~

> ```js
> let a = 1
> ```

!!! tip
    In an admonition of MkDocs

    ```Python
    b = 1
    ```

    === "Java"

        ``` java
        int b = 1;
        ```

/// note

```
no name
```

///

``` hl_lines="2"
no name either
```

```mermaid
graph
```

    c = "indented, not fenced"

<pre class="x"><code class="hljs language-go">a &lt;- b
</code></pre>

Inline `code` and ```more``` of it.
"""


def test_fences_of_markdown():
    assert blocks("docs/a.md", MARKDOWN) == [
        (1, "python", "a = 1\n", ()),
        (2, "kotlin", "val a = 1\n```\n", ()),
        (3, "javascript", "let a = 1\n", ()),
        (4, "python", "b = 1\n", ()),
        (5, "java", "int b = 1;\n", ()),
        (6, None, "no name\n", "no language"),
        (7, None, "no name either\n", "no language"),
        (8, None, "graph\n", ()),
        (9, "go", "a <- b\n", ()),
    ]


RST = """
Title
=====

.. code-block:: python
   :linenos:
   :emphasize-lines: 1

   def f():

       return 1

Text. ::

    literal

.. tabs::

   .. unknown-theme-directive:: x

      .. code:: java

         int a = 1;
      behind

.. sourcecode:: kotlin
.. code-block::

    no name

.. literalinclude:: ../code/x.py
   :language: python
"""


def test_directives_of_rst():
    assert blocks("docs/a.rst", RST, {"code/x.py"}) == [
        (1, "python", "def f():\n\n    return 1\n", ()),
        (2, "java", "int a = 1;\n", ()),
        (3, None, "no name\n", "no language"),
        (4, None, "", ("code/x.py",)),
    ]


def test_code_of_html():
    page = """<p><code class="language-python">inline</code></p>
        <pre><code class="language-python">a = "&amp;"\n<span>b</span> = 2\n</code></pre>
        <PRE><code class='lang-kt'>val a = 1</code></PRE><pre><code>x</code></pre><pre>no code</pre>
        <pre><code class="language-python">never ends"""
    assert blocks("a.HTML", page) == [
        (1, "python", 'a = "&"\nb = 2\n', ()),
        (2, "kotlin", "val a = 1\n", ()),
        (3, None, "x\n", "no language"),
    ]


@pytest.mark.parametrize(
    ("said", "language"),
    [
        ("python", "python"),
        ("Py", "python"),
        ("python3", "python"),
        ("{.kotlin}", "kotlin"),
        ("{ .kt .annotate }", "kotlin"),
        ("TypeScript title='x'", "typescript"),
        ("golang", "go"),
        ("c++", None),
        ("pycon", None),
        ("", None),
        ("{}", None),
    ],
)
def test_names_of_languages(said, language):
    found = language_named(said)
    assert (found and found.name) == language


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{* ../../src/a.py *}", ("src/a.py",)),
        ("{* ../../src/a.py ln[1:3] hl[2,5:7] *}", ("src/a.py",)),
        ("{!../../src/a.py!}", ("src/a.py",)),
        ("```Python hl_lines='1'\n{!> ../../src/a.py!}\n```", ("src/a.py",)),
        ('--8<-- "src/a.py"', ("src/a.py",)),
        ("``` py\n--8<-- 'src/a.py:3:5'\n```", ("src/a.py",)),
        ('--8<-- "src/a.py:section"', ("src/a.py",)),
        ("    {!../../src/a.py!}", ("src/a.py",)),
        ("{* b.py *}", ("docs/en/docs/b.py",)),
        ("{* /src/a.py *}", ("src/a.py",)),
        ("{* ../../src/none.py *}", "include is not there"),
        ("{* https://example.invalid/a.py *}", "include is not there"),
        ("{* ../../../../etc/passwd *}", "include leaves the source"),
        ("{* /../../../../etc/passwd *}", "include leaves the source"),
    ],
)
def test_files_that_pages_include(line, expected):
    files = {"src/a.py", "docs/en/docs/b.py"}
    assert blocks("docs/en/docs/page.md", f"Text.\n\n{line}\n\nText.\n", files) == [(1, None, "", expected)]


@pytest.mark.parametrize(
    "page",
    [
        "--8<--\na.py\n\nb.py:2\n--8<--\n",
        "Text.\n\n--8<--\n\na.py\n\n\nb.py\n\n--8<--\n\nMore.\n",
        "```python\n--8<--\na.py\n\nb.py\n--8<--\n```\n",
        "!!! note\n\n    --8<--\n    a.py\n\n    b.py\n    --8<--\n",
    ],
)
def test_a_list_of_includes_may_have_blank_lines(page):
    found = blocks("page.md", page, {"a.py", "b.py"})
    assert [block[3] for block in found] == [("a.py",), ("b.py",)]


def test_several_includes_and_text_that_is_not_an_include():
    files = {"a.py", "b.py"}
    listed = blocks("page.md", "--8<--\na.py\nb.py:2\n--8<--\n", files)
    assert [block[3] for block in listed] == [("a.py",), ("b.py",)]
    mixed = blocks("page.md", "```python\n{!a.py!}\nx = 1\n```\n", files)
    assert [(block[2], block[3]) for block in mixed] == [("", ("a.py",)), ("x = 1\n", ())]
    shown = blocks("page.md", "```markdown\n{!a.py!}\n```\n\nuse `{* a.py *}` and {!a.py!} so\n", files)
    assert shown == [(1, None, "{!a.py!}\n", ())]


PAGES = {
    "LICENSE": b"Permission is hereby granted, free of charge, x The above copyright notice and this permission notice",
    "docs/a.md": b"```python\na = 1\n```\n\n{* ../src/x.py *}\n\n```\nwho knows\n```\n\n```kotlin\nval a = 1\n```\n",
    "docs/b.md": b"{* ../src/x.py *}\n\n```python\r\na = 1\r\n```\n\n"
    b"{* ../src/y.py *}\n\n{* ../gone.py *}\n\n{!../src/z.kt!}\n",
    "docs/c.md": b"\xff",
    "src/unused.py": b"u = 1\n",
    "src/x.py": b"x = 1\n",
    "src/y.py": b"\0",
    "src/z.kt": b"val z = 1\n",
}


@pytest.mark.parametrize("kind", ["folder", "git", "blobless url", "archive"])
def test_every_kind_of_source_gives_the_same_blocks(tmp_path, kind):
    source = project(tmp_path, "p", PAGES)
    if "url" in kind or kind == "git":
        git(source, "init", "-q")
        git(source, "add", "-A")
        git(source, "commit", "-qm", "pages")
        git(source, "config", "uploadpack.allowFilter", "true")
    if kind == "blobless url":
        source = f"file://{source}"
    if kind == "archive":
        source = tar_of(tmp_path / "p.tar.gz", PAGES)
    output = tmp_path / "out.jsonl"
    documents = parse(output, source, "--language", "python", "--code_blocks")
    assert [(d.path, d.content, d.language, d.license) for d in documents] == [
        ("docs/a.md#block-1", "a = 1\n", "python", "MIT"),
        ("src/x.py", "x = 1\n", "python", "MIT"),
    ]
    assert [(row["path"], row["rule"], row.get("value")) for row in rejections(output)] == [
        ("docs/a.md#block-3", "no language", None),
        ("docs/b.md#block-2", "same blob", "p/docs/a.md#block-1"),
        ("docs/b.md#block-4", "include is not there", "../gone.py"),
        ("docs/c.md", "not UTF-8", "byte 0"),
        ("src/y.py", "binary", "NUL at byte 0"),
    ]


def test_sizes_hold_for_blocks_too(tmp_path):
    pages = {"a.md": b"```python\n12345\n```\n```python\n1\n```\n```python\n12\n```\n"}
    output = tmp_path / "out.jsonl"
    words = ["--language", "python", "--code_blocks", "--min_bytes", "4", "--max_bytes", "100"]
    assert [d.content for d in parse(output, project(tmp_path, "p", pages), *words)] == ["12345\n"]
    assert [(row["path"], row["rule"]) for row in rejections(output)] == [
        ("a.md#block-2", "too small"),
        ("a.md#block-3", "too small"),
    ]


@pytest.mark.parametrize(
    "text", ["> " * 5000 + "```python\na\n```", "* " * 5000, "[" * 50_000, "```python\n" * 5000, "<pre><code " * 9000]
)
@pytest.mark.parametrize("suffix", [".md", ".rst", ".html"])
def test_hostile_pages_are_parsed_in_time(text, suffix):
    for block in code_blocks("a" + suffix, text, ()):
        assert isinstance(block.rejection, Rejection | None)
