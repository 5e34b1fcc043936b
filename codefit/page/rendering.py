"""Pages from Jinja templates. Every text is escaped; a page is one file that loads nothing.

`layout.html` is the frame of a page, `style.css` its colours and tables, `macros.html` what occurs several times, and
`highlight.js` the syntax colours.
"""

import base64
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import markupsafe

FOLDER = Path(__file__).parent


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A cell of a table that leads to the prompts of a group.

    Attributes:
        text: what is shown.
        href: where it leads to in the page.
        group: the value of the group in the page's selection.
        model: the index of the model that the group is about.
    """

    text: str
    href: str
    group: str
    model: int


Cell = str | Link


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """A table of texts; cells in the column "Verdict" become labels. A row of one cell is a heading of those below."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    name: str = ""  # a heading above it


def embedded(picture: Path | None) -> str:
    """Return a picture in base64, for a `data:` URL; "" for none."""
    return base64.b64encode(picture.read_bytes()).decode() if picture else ""


def render(folder: Path, template: str, **content: Any) -> str:
    """Return a page made of a template in a folder, which may use the templates of this one."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**content)


def script_json(value: Any) -> markupsafe.Markup:
    """Return JSON that is safe inside a script element: no character of it can end the element or open a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
