"""Tables for the terminal and for Markdown."""

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
