"""The programs next to the stages: those of runs/, speed/ and torture/ can be started as their texts say."""

import importlib
import sys

import pytest

from codefit.manifest import ROOT

PROGRAMS = [
    f"{folder}.{path.stem}"
    for folder in ("runs", "speed", "torture")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "def main(" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_explains_itself(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(name).main()
    assert ended.value.code == 0
    assert f"python -m {name}" in capsys.readouterr().out
