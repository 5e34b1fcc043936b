"""A frozen text, Python source code, so that a change of codefit itself changes no token ids in the tests."""

from codefit.manifest import ROOT

SOURCES = sorted((ROOT / "tests" / "data" / "source").glob("*.txt"))
