"""The page about the data: what it counts, that equal data give equal bytes, and that texts stay texts."""

from collections import Counter

import pytest

from codefit.curation import description
from codefit.curation.description import Lengths
from codefit.records import Pair
from tests.support.browser import axe_violations, hears, sideways

ATTACK = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory, vocabulary):
    """The page of a small corpus with licences, two owners, a docstring, text that is not ASCII, and markup."""
    import preprocess_data
    from codefit.records import Document, write_jsonl
    from tests.support.corpus import EXTRA, documents

    folder = tmp_path_factory.mktemp("described")
    area = 'def {0}_area({0}):\n    """Return the area, from the {0}."""\n    return 3.14 * {0}**2\n\n\n'
    text = "".join(map(area.format, ("radius", "diameter", "perimeter", "width", "height")))
    extra = [Document(f"{text}# {ATTACK} é\n", "src/area.py", "you/two", license="mit")]
    write_jsonl(folder / "documents.jsonl", documents(extra=[*EXTRA, *extra]))
    words = ["--input", folder / "documents.jsonl", "--model_name_or_path", vocabulary, "--window_step", 32]
    shown = []
    for name in ("a", "b"):
        preprocess_data.main([*map(str, words), "--describe", "--test_share", "0.2", "--output", str(folder / name)])
        shown.append((folder / name / "data.html").read_bytes())
    assert shown[0] == shown[1]
    return folder / "a" / "data.html"


def test_the_page_tells_what_is_in_the_data(page):
    text = page.read_text(encoding="utf-8")
    for title in ("Examples", "Lengths", "Files", "Tokens", "Cuts", "Rejected files"):
        assert f">{title}</h2>" in text
    words = (".kt", ".py", "mit", "you/two", "exact duplicate", "bits a token", "seen once", "docstring, characters")
    for word in words:
        assert word in text
    assert text.count('<article class="example"') == 10
    assert str(page.parent) not in text


def test_a_text_is_no_markup(page):
    text = page.read_text(encoding="utf-8")
    assert "<img" not in text
    assert text.count("<script") == 1
    assert not [part for part in ("https://", "http://", "url(", "fetch(") if part in text.replace("http-equiv", "")]


def test_the_page_works_in_a_browser(page, chromium):
    context = chromium.new_context(viewport={"width": 900, "height": 900})
    tab = hears(context.new_page())
    tab.goto(page.as_uri())
    assert tab.locator(".example pre .keyword").count() > 5
    assert axe_violations(tab) == []
    tab.set_viewport_size({"width": 390, "height": 900})
    wide, screen = tab.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen
    tab.set_viewport_size({"width": 1400, "height": 900})
    assert sideways(tab) == []
    assert tab.trouble == []
    context.close()


@pytest.mark.parametrize(
    ("counts", "shares"),
    [
        ({}, [0, 0, 0]),
        ({7: 1}, [7, 7, 7]),
        ({1: 50, 100: 50}, [1, 1, 100]),
        ({1: 1, 2: 1, 3: 1, 4: 1}, [1, 2, 4]),
    ],
)
def test_percentiles_are_of_the_nearest_rank(counts, shares):
    lengths = Lengths("x", Counter(counts))
    assert [lengths.at(share) for share in (0.05, 0.5, 0.99)] == shares


def test_bins_are_powers_of_two_without_gaps():
    assert Lengths("x", Counter({0: 2, 1: 1, 9: 5})).bins() == [
        ("0", 2),
        ("1 to 1", 1),
        ("2 to 3", 0),
        ("4 to 7", 0),
        ("8 to 15", 5),
    ]
    assert Lengths("x").bins() == []


@pytest.mark.parametrize(
    ("prompt", "completion", "more", "kind"),
    [
        ("x = ", "1", {}, "inside a line, to a natural end"),
        ("x = al", "pha", {"finish_reason": "length"}, "inside a word, to the token limit"),
        ("x = 1\n    ", "y = 2", {}, "at the start of a line, to a natural end"),
        ("", "y = 2", {"suffix": "z"}, "at the start of a line, with a suffix, to a natural end"),
    ],
)
def test_kinds_of_cuts(prompt, completion, more, kind):
    assert description.kind_of_cut(Pair("1", "completion", prompt, completion, **more)) == kind


def test_the_sample_has_a_limit():
    entries = [type("Entry", (), {"length": 1_000_000})] * 10
    assert list(description.every_kth(range(10), entries)) == [0, 5]
    assert list(description.every_kth(range(2), entries[:2])) == [0, 1]
    assert list(description.every_kth([], [])) == []


def test_the_page_says_how_much_was_measured():
    assert description.sample_of(30, 30) == "Measured on all 30 files."
    assert description.sample_of(30, 1200) == "Measured on 30 of 1,200 files, evenly spaced."


def test_the_rank_plot_goes_from_corner_to_corner():
    points = description.ranks(Counter({1: 100, 2: 10, 3: 1})).split()
    assert (points[0], points[-1]) == ("0.0,0.0", "100.0,100.0")
    assert description.ranks(Counter({1: 1})) == ""
