"""The server of complete.py --web: what it answers, what it refuses, and the page in a browser."""

import http.client
import json
import threading

import pytest

from codefit.errors import UserError
from codefit.playground import server
from codefit.playground.answers import Answer, Token
from tests.support.browser import axe_violations, hears

ATTACK = "</script><img src=x onerror=alert(1)>"
ANSWERS = [
    Answer("base", (Token(ATTACK, 0.25, ((ATTACK, 0.25), ("b", 0.2))),), stopped=False),
    Answer("fitted", (Token("return", 0.9, (("return", 0.9),)), Token(" 1", 0.5, ((" 1", 0.5),))), stopped=True),
]
GOOD = {"prompt": "def f(", "suffix": None, "new_tokens": 8}


def ask(prompt, suffix, new_tokens):
    if prompt == "refused":
        raise UserError("the model has no fill-in-the-middle; leave out the suffix.")
    return ANSWERS


@pytest.fixture(scope="module")
def running():
    with server.Server(ask, server.page(("data/base", "some/adapter"), True, 64)) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def sent(running, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(server.ADDRESS, running.server_port, timeout=20)
    if body is not None:
        headers = {"Content-Type": "application/json", **headers}
    data = json.dumps(body) if isinstance(body, dict) else body
    connection.request(method, path, data, headers)
    reply = connection.getresponse()
    found = reply.status, reply.read().decode(), reply.headers
    connection.close()
    return found


def test_the_page_and_an_answer(running):
    status, text, headers = sent(running, "GET", running.path)
    assert status == 200
    assert "some/adapter" in text
    assert (headers["X-Frame-Options"], headers["Cache-Control"]) == ("DENY", "no-store")
    status, text, _ = sent(running, "POST", running.path + "complete", GOOD, Origin=running.url[: -len(running.path)])
    assert status == 200
    base, fitted = json.loads(text)["answers"]
    assert (base["label"], base["stopped"], fitted["stopped"]) == ("base", False, True)
    assert fitted["tokens"][0] == {"text": "return", "probability": 0.9, "others": [["return", 0.9]]}


def test_only_this_machine_can_connect(running):
    assert running.server_address[0] == "127.0.0.1"
    assert len(running.path) > 30


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_other_pages_are_refused(running, headers):
    headers = {name: value.format(port=running.server_port) for name, value in headers.items()}
    for method, path, body in (("GET", running.path, None), ("POST", running.path + "complete", GOOD)):
        status, text, found = sent(running, method, path, body, **headers)
        assert (status, json.loads(text)) == (404, {"error": "there is nothing here"})
        assert "Access-Control-Allow-Origin" not in found


@pytest.mark.parametrize("path", ["/", "/complete", "/x/complete", "{}../", "{}x", "{}?x", ""])
def test_who_does_not_know_the_path_finds_nothing(running, path):
    path = path.format(running.path) or "/"
    assert sent(running, "GET", path)[0] == 404
    assert sent(running, "POST", path, GOOD)[0] == 404


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        ("{", {}, 400, "Expecting property name"),
        ("[]", {}, 400, "a question is an object"),
        ({**GOOD, "prompt": 1}, {}, 400, "prompt and suffix are texts"),
        ({**GOOD, "suffix": []}, {}, 400, "prompt and suffix are texts"),
        ({**GOOD, "new_tokens": 0}, {}, 400, "new_tokens is a number from 1 to 512"),
        ({**GOOD, "new_tokens": True}, {}, 400, "new_tokens is a number from 1 to 512"),
        ({**GOOD, "prompt": "refused"}, {}, 400, "the model has no fill-in-the-middle; leave out the suffix."),
        (GOOD, {"Content-Type": "text/plain"}, 400, "a question is JSON with its length"),
        (GOOD, {"Content-Length": "-1"}, 400, "a question is JSON with its length"),
        ("x", {"Content-Length": "9999999"}, 413, "a question has at most 1048576 bytes"),
        (b"\xff\xfe", {}, 400, ""),
    ],
)
def test_what_is_no_question_is_refused(running, body, headers, status, reason):
    found, text, _ = sent(running, "POST", running.path + "complete", body, **headers)
    assert found == status
    assert reason in json.loads(text)["error"]
    assert sent(running, "POST", running.path + "complete", GOOD)[0] == 200  # it goes on


def test_a_port_that_is_taken_is_said(running):
    with pytest.raises(UserError, match=r"cannot listen on port \d+ \(Address already in use\); give another one with"):
        server.Server(ask, "", running.server_port)


def test_the_page_in_a_browser(running, chromium):
    context = chromium.new_context(viewport={"width": 1400, "height": 900}, color_scheme="dark")
    tab = hears(context.new_page(), (running.url, "data:"))
    tab.goto(running.url)
    tab.keyboard.press("Control+Enter")
    tab.wait_for_selector(".insert:enabled")
    assert tab.locator("pre").all_inner_texts() == [ATTACK, "return 1"]
    assert [node.get_attribute("class") for node in tab.locator("pre span").all()] == ["unlikely", "likely", "unsure"]
    captions = tab.locator(".answer .caption").all_inner_texts()
    assert captions[1] == "2 tokens, 67.1 % in the geometric mean · stopped by itself"
    tab.evaluate("document.querySelectorAll('details').forEach(node => { node.open = true; })")
    assert tab.locator("tbody tr").count() == 3
    assert axe_violations(tab) == []
    tab.set_viewport_size({"width": 390, "height": 900})
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.click(".insert >> nth=1")
    assert tab.input_value("#code").endswith('file."""\n    return 1')
    tab.fill("#code", "refused")
    tab.click("#complete")
    tab.wait_for_selector("#error:not(:empty)")
    assert tab.inner_text("#error") == "the model has no fill-in-the-middle; leave out the suffix."
    assert [text for text in tab.trouble if "400 (Bad Request)" not in text] == []
    context.close()
