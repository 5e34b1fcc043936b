"""The report in a real browser: tabs, filters, keys, narrow and wide screens, light and dark, and axe's rules."""

import dataclasses

import pytest

from codefit.evaluation import comparison
from codefit.evaluation.report import html as page
from codefit.evaluation.result_schema import BenchmarkInfo
from tests.support.browser import AXE_VIEWS, VIEWS, axe_violations, hears, sideways
from tests.support.report import ADAPTED, BASE, HELD_OUT, MODELS, attacked

RUNNING_ON = [dataclasses.replace(item, prediction=item.prediction + "x = 1\n" * 40) for item in BASE]


@pytest.fixture(scope="module")
def report_file(tmp_path_factory):
    """A report of two benchmarks: 30 ordinary prompts and one whose texts all try to inject markup, and 30 others."""
    answers = {
        "heldout": {"base": [*BASE, *attacked()], "adapted": [*ADAPTED, *attacked()]},
        "test_overlap": {"base": RUNNING_ON, "adapted": BASE},
    }
    asked = {"heldout": HELD_OUT, "test_overlap": BenchmarkInfo(title="code that resembles training code")}
    scored = {
        name: {key: comparison.score_items(items) for key, items in by_model.items()}
        for name, by_model in answers.items()
    }
    content = comparison.scores(scored, MODELS, asked, {}, seed=0)
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.page(content, scored, {"Command": "benchmarking.py --seed 0"}))
    return path


@pytest.fixture
def opened(chromium, report_file, request):
    """The opened report; log messages and network requests of the page are collected in `trouble`."""
    options = getattr(request, "param", {})
    context = chromium.new_context(**options)
    tab = hears(context.new_page())
    tab.goto(report_file.as_uri())
    yield tab
    context.close()


def test_filters_and_keys_move_through_the_predictions(opened):
    labels = opened.locator("#filter label").all_inner_texts()
    assert [label.strip() for label in labels] == ["all (31)", "better (20)", "worse (0)", "same (11)"]
    opened.keyboard.press("b")
    for key in "jjk":
        opened.keyboard.press(key)
    assert opened.inner_text("#place") == "2 of 20"
    assert opened.locator("#answer-1 mark").count() == 0  # the adapted model is right: nothing is marked
    assert opened.inner_text("#answer-0 mark >> nth=0") == "tau"
    opened.keyboard.press("w")
    assert opened.inner_text("#place") == "none"
    assert opened.is_hidden("#item")
    assert opened.title().startswith("some/adapter")
    assert opened.trouble == []


def test_a_group_narrows_the_predictions(opened):
    opened.select_option("#group", label="control flow (30)")
    assert opened.inner_text("#filter label >> nth=0").strip() == "all (30)"
    assert "Kind of line: control flow" in opened.inner_text("#groups-of-item")


def test_differences_do_not_need_colour(opened):
    opened.keyboard.press("b")
    style = opened.eval_on_selector("#answer-0 mark", "node => getComputedStyle(node).textDecorationStyle")
    assert style == "dotted"


def test_a_tab_is_a_benchmark_and_the_headline_stays(opened):
    headline = opened.inner_text(".verdict")
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.id") == "tab-0"
    opened.keyboard.press("ArrowRight")
    assert opened.evaluate("document.activeElement.id") == "tab-1"
    assert opened.is_hidden("#benchmark-0")
    assert opened.is_visible("#benchmark-1 #browser")
    assert opened.inner_text("#filter label >> nth=0").strip() == "all (30)"
    assert opened.inner_text(".verdict") == headline
    assert "".join(opened.locator("#answer-0 .after").all_inner_texts()) == "\n" + "x = 1\n" * 40
    assert opened.locator(".verdict").count() == 1
    opened.keyboard.press("ArrowRight")
    assert opened.is_visible("#benchmark-0")
    assert opened.trouble == []


def test_a_group_of_the_table_leads_to_its_prompts(opened):
    opened.click("text=Groups of prompts >> nth=0")  # in the contents: the folded part opens
    opened.click("#groups-0 table a >> text=control flow")
    assert opened.eval_on_selector("#group", "node => node.value.split(':')[1]") == "control flow"
    assert opened.inner_text("#filter label >> nth=0").strip() == "all (30)"
    assert opened.evaluate("document.getElementById('predictions').getBoundingClientRect().top") < 900


def test_code_has_colours_and_keeps_its_text(opened):
    opened.keyboard.press("b")
    assert opened.inner_text("#prompt .comment >> nth=-1") == "# the area of a circle, from its radius"
    assert opened.locator("#prompt .keyword").all_inner_texts() == ["import", "def", "return"]
    shown = opened.evaluate("[document.getElementById('prompt').textContent, shown[at].prompt]")
    assert shown[0] == shown[1]
    example = opened.evaluate(
        "[...document.querySelectorAll('#benchmark-0 .example:first-of-type pre')].map(node => node.textContent)"
    )
    item = opened.evaluate("examples[0][0]")
    texts = ["".join(answer["parts"]) for answer in item["answers"]]
    assert example == [item["prompt"], *texts, item["reference"]]


@pytest.mark.parametrize("opened", VIEWS, indirect=True, ids=lambda view: f"{view['viewport']['width']}")
def test_the_page_is_accessible_and_fits_its_screen(opened, request):
    opened.keyboard.press("b")
    opened.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    if request.node.callspec.params["opened"] in AXE_VIEWS:
        assert axe_violations(opened) == []
    wide, screen = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen  # tables scroll in their own box
    if screen >= 900:
        assert sideways(opened) == []
    if screen >= 1400:
        assert opened.evaluate("document.getElementById('predictions').getBoundingClientRect().top + scrollY") < 1500
    assert opened.trouble == []
