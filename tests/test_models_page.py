"""docs/models.md lists what the tests try; its tables are made of their lists."""

from codefit.manifest import ROOT
from codefit.publishing import gguf
from tests.support.architectures import ISOLATE, SEE_EACH_OTHER
from tests.support.tokenizer_styles import LOSSY, STYLES

PAGE = ROOT / "docs" / "models.md"


def architectures():
    """Return the rows of architectures, in the order of their names."""
    packs = dict.fromkeys(ISOLATE, "isolated") | dict.fromkeys(SEE_EACH_OTHER, "one per row")
    return [f"| {name} | {packs[name]} | {'yes' if name in gguf.ARCHITECTURES else 'no'} |" for name in sorted(packs)]


def tokenizers():
    """Return the rows of tokenizers."""
    return [f"| {name} | yes |" for name in STYLES] + [f"| {name} | no: refused |" for name in LOSSY]


def rows(title):
    """Return the rows of the table that follows a title."""
    lines = PAGE.read_text(encoding="utf-8").split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    return [line for line in lines if line.startswith("|")][2:]


def test_the_tables_are_those_of_the_tests():
    assert rows("Architectures") == architectures()
    assert rows("Tokenizers") == tokenizers()


def test_every_architecture_of_gguf_files_is_in_the_table():
    assert set(gguf.ARCHITECTURES) <= {*ISOLATE, *SEE_EACH_OTHER}
