"""Chromium for tests of pages; what needs it is skipped where it is not installed."""

import shutil

import pytest

VIEWS = [
    {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for width, scheme in ((1400, "light"), (1400, "dark"), (900, "light"), (390, "light"), (390, "dark"))
]
AXE_VIEWS = (VIEWS[0], VIEWS[-1])  # both colour schemes, the widest and the narrowest: axe takes seconds
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def launched():
    """Yield a browser."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on PATH")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def hears(tab, own=("file:", "data:")):
    """Return a page whose errors, and requests to other places than its own, are collected in `trouble`."""
    tab.trouble = []
    tab.on("console", lambda message: tab.trouble.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: tab.trouble.append(str(error)))
    tab.on("request", lambda sent: tab.trouble.append(sent.url) if not sent.url.startswith(own) else None)
    return tab


def axe_violations(tab):
    """Return what axe finds wrong on a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(tab, options={"runOnly": RULES})
    return [(rule["id"], [node["html"][:120] for node in rule["nodes"]]) for rule in found.response["violations"]]


def sideways(tab):
    """Return the visible tables that are wider than their box."""
    script = "[...document.querySelectorAll('.scroll')].filter(n => n.offsetParent && n.scrollWidth > n.clientWidth)"
    return tab.evaluate(f"{script}.map(node => node.getAttribute('aria-label'))")
