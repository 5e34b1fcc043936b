"""Tables for the terminal and for Markdown."""

import io
import re
import sys

import pytest

from codefit import console


def test_columns_are_aligned_and_numbers_set_to_the_right():
    text = console.table([["first", 1, "+2.5"], ["", 1000, "-3"]], ["name", "n", "gain"])
    assert text.splitlines() == [
        "name      n  gain",
        "-----  ----  ----",
        "first     1  +2.5",
        "       1000    -3",
    ]


@pytest.mark.parametrize("cell", ["1e5", "True", "0x1", "  two", "1,000", "a|b"])
def test_texts_stay_as_they_are(cell):
    assert cell in console.table([["x", cell]], ["a", "b"]).splitlines()[2]


def test_a_table_without_rows_is_its_header():
    assert console.table([], ["name", "n"]) == "name  n\n----  -"
    assert len(console.markdown_table([], ["name", "n"]).splitlines()) == 2


@pytest.mark.parametrize(("cell", "written"), [("a|b", r"a\|b"), ("a\nb", "a b"), (None, ""), (3, "3")])
def test_no_cell_ends_a_table_of_markdown(cell, written):
    lines = console.markdown_table([[cell, "x"]], ["head|er", "b"]).splitlines()
    assert len(lines) == 3
    assert lines[2].split(" | ")[0].strip("| ") == written
    assert r"head\|er" in lines[0]


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (999_600, "1 MB"), (5.31e9, "5.31 GB"), (2e15, "2e+03 TB")]
)
def test_bytes_as_people_say_them(count, text):
    assert console.size(count) == text


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self):
        return True


def test_a_bar_in_a_pipe_has_lines_and_no_carriage_returns(monkeypatch):
    piped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", piped)
    assert list(console.progress(range(3), "count")) == [0, 1, 2]
    assert "\r" not in piped.getvalue()
    assert piped.getvalue().endswith("\n")
    assert "count: 100%" in piped.getvalue().splitlines()[-1]


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_bar_fits_the_terminal(columns, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    list(console.progress(range(3), "count"))
    assert 40 < max(map(len, re.split("[\r\n]", terminal.getvalue()))) < columns


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_a_table_on_a_terminal_fits_it(columns, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    rows = [["size", 12, "src/" + "long/" * 30 + "end.py"], ["digits", 3, "a.py"]]
    lines = console.table(rows, ["rejected because", "files", "for example"]).splitlines()
    assert max(map(len, lines)) < columns
    assert lines[2].endswith("end.py")


def test_a_table_in_a_pipe_is_whole(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert "x" * 200 in console.table([["x" * 200]], ["a"])


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
    ],
)
def test_colours_are_for_terminals_whose_user_does_not_refuse_them(terminal, environment, colour, monkeypatch):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.setenv(name, environment.get(name, ""))
    assert console.in_colour(Terminal() if terminal else io.StringIO()) is colour


@pytest.mark.parametrize(("count", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows")])
def test_one_thing_is_not_counted_as_several(count, text):
    assert console.counted(count, "row") == text
