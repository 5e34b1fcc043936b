"""The report in a real browser: filters, keys, narrow and wide screens, light and dark, and axe's rules."""

import shutil

import pytest

from codefit.evaluation.report import html as page
from tests.support.report import ADAPTED, BASE, attacked, compared

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report_file(tmp_path_factory):
    """A report of 30 ordinary prompts and one whose texts all try to inject markup."""
    content, scored = compared([*BASE, *attacked()], [*ADAPTED, *attacked()])
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page.page(content, scored, {"Command": "benchmarking.py --seed 0"}))
    return path


@pytest.fixture
def opened(chromium, report_file, request):
    """The opened report; log messages and network requests of the page are collected in `trouble`."""
    options = getattr(request, "param", {})
    context = chromium.new_context(**options)
    tab = context.new_page()
    tab.trouble = []
    tab.on("console", lambda message: tab.trouble.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
    tab.on(
        "request", lambda sent: tab.trouble.append(sent.url) if not sent.url.startswith(("file:", "data:")) else None
    )
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


VIEWS = [
    {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for width in (1280, 390)
    for scheme in ("light", "dark")
]


@pytest.mark.parametrize("opened", VIEWS, indirect=True, ids=lambda view: f"{view['viewport']['width']}")
def test_the_page_is_accessible_and_fits_its_screen(opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    opened.keyboard.press("b")
    found = axe.run(opened, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]})
    problems = [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found.response["violations"]]
    assert problems == []
    wide, screen = opened.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert wide <= screen  # tables scroll in their own box
    assert opened.trouble == []
