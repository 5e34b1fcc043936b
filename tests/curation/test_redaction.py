"""What must not be learned is replaced, what only looks like it stays, and no value is ever printed."""

import random
import string

import pytest

from codefit.code.languages import LANGUAGES
from codefit.curation.curate import CurationOptions, curate
from codefit.curation.redaction import redact
from codefit.records import Document, write_jsonl
from tests.support.corpus import documents, manifest_of, pairs_of

KOTLIN, PYTHON = LANGUAGES["kotlin"], LANGUAGES["python"]
TOKEN = "ghp_" + "".join(random.Random(0).choices(string.ascii_letters, k=36))
BODY = "".join(random.Random(1).choices(string.ascii_letters, k=64))
KEY = f"-----BEGIN RSA PRIVATE {'KEY-----'}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'val a = "{TOKEN}"', 'val a = "<KEY>"'),
        (f"{TOKEN} and {TOKEN}", "<KEY> and <KEY>"),
        ("// by jane.doe+x@mail.company.co.uk.", "// by <EMAIL>."),
        ('val a = "Jane <jane@company.org>"', 'val a = "Jane <<EMAIL>>"'),
        ('val a = "mailto:jane@company.org"', 'val a = "mailto:<EMAIL>"'),
        ('connect("93.184.216.34", 80)', 'connect("<IP>", 80)'),
        ('connect("93.184.216.34:80")', 'connect("<IP>:80")'),
        ("// the host 93.184.216.34.", "// the host <IP>."),
        ('connect("2a00:1450:4001:81b::200e")', 'connect("<IP>")'),
        ('url("https://app:k3yr1ng@db.company.com")', 'url("https://app:<KEY>@db.company.com")'),
        (
            f'val key = "{KEY}\\n" +\n    "{BODY}\\n" +\n    "{BODY[:20]}\\n-----END"\n',
            f'val key = "{KEY}\\n" +\n    "<KEY>\\n" +\n    "<KEY>\\n-----END"\n',
        ),
    ],
)
def test_credentials_and_addresses_are_replaced(text, expected):
    changed, counts = redact(text, KOTLIN)
    assert changed == expected
    assert counts.total() == sum(expected.count(token) for token in ("<KEY>", "<EMAIL>", "<IP>"))
    assert redact(changed, KOTLIN)[0] == changed


@pytest.mark.parametrize(
    "text",
    [
        "val a = this@Outer.name + b@c.de",  # code, no comment or string
        'val a = "${this@Outer.name}"',
        "// me@example.com, you@sub.example.org, x@host.test, git@github.com, noreply@company.org",
        '"icon@large.png" + "lib@release.aar"',
        '"127.0.0.1" + "0.0.0.0" + "10.1.2.3" + "192.168.0.1" + "172.16.5.4" + "255.255.255.0" + "8.8.8.8"',
        '"192.0.2.10" + "198.51.100.3" + "203.0.113.9"',  # for documentation
        '"version 10.20.30.40" + "lib==44.33.22.11" + "v15.2.3.4"',
        '"2.5.29.17" + "1.3.31.255" + "5.4.3.2" + "93.184.216.34.5" + "93.184.216.340"',
        "// JLS \u00a715.9.5.1 and section 15.12.2.1",
        "val a = 93.184.216.34",
        '"::1" + "fe80::1:2:3:4" + "2001:db8::1:2:3" + "12:34:56:78" + "a::b"',
        "",
    ],
)
def test_addresses_that_identify_nobody_are_kept(text):
    assert redact(text, KOTLIN) == (text, {})


def test_python_keeps_its_matrix_product_and_redacts_its_docstring():
    text = 'def f(a, b):\n    """By jane@company.org."""\n    return a@b.inv\n'
    assert redact(text, PYTHON)[0] == text.replace("jane@company.org", "<EMAIL>")


def test_redaction_can_be_switched_off_and_is_counted_all_the_same():
    document = Document("fun one(value: Int) =\n" * 2 + f'    call("{TOKEN}")\n' + "\nval next = other()\n" * 3, "a.kt")
    on, off = (curate(document, CurationOptions(redact=redact)) for redact in (True, False))
    assert on.outcome.content == document.content.replace(TOKEN, "<KEY>")
    assert off.outcome.content == document.content
    assert on.redacted == off.redacted == {"GitHub token": 1}
    assert curate(document, CurationOptions(profile="standard", rule=["secrets=0"])).outcome.rule == "secrets"


def test_the_stage_counts_by_kind_and_prints_no_value(prepare, tmp_path, capfd):
    files = [
        Document(
            f'// by jane@company.org\nval key = "{TOKEN}"\n' + document.content, document.path, document.repository
        )
        for document in documents()
    ]
    write_jsonl(tmp_path / "documents.jsonl", files)
    output = prepare(tmp_path / "documents.jsonl")
    assert manifest_of(output)["redacted"] == {"e-mail address": 60, "GitHub token": 60}
    printed = "".join(capfd.readouterr())
    assert "redacted: e-mail address (60), GitHub token (60)" in printed
    written = "".join(path.read_text() for path in output.iterdir())
    for value in (TOKEN, "jane@company.org"):
        assert value not in printed + written
    kept = prepare(tmp_path / "documents.jsonl", "--no_redact", output="kept")
    assert manifest_of(kept)["not_redacted"] == {"e-mail address": 60, "GitHub token": 60}
    assert "not redacted: e-mail address (60), GitHub token (60)" in capfd.readouterr().out
    assert TOKEN in "".join(pair.prompt for pair in pairs_of(kept)["train"])


@pytest.mark.parametrize(
    "text",
    [
        '"Chrome/114.0.0.0 Safari/537.36 Edg/120.0.0.0"',
        '"https://repo.company.org/lib/50.10.20.30/a.jar"',
        '"org.company:lib:52.4.55.6"',
        '"lib-52.4.55.6.jar" + "lib_52.4.55.6"',
        '"version": "93.184.216.34"',
        'ASSEMBLY_VERSION = "64.13.15.2"',
        '"4.13.15.2" + "^93.184.216.34" + "lib==93.184.216.34"',
        "// c = x@y.mean of both, and w@v.to(device)",
        "// npm i pkg@latest.dev, yarn add a@next.io",
        '"template@module.js"',
    ],
)
def test_versions_and_products_are_not_addresses(text):
    assert redact(text, KOTLIN) == (text, {})


@pytest.mark.parametrize(
    "text",
    ['"http://93.184.216.34/index"', '"ping 93.184.216.34"', "// root@93.184.216.34:22", '"host=jane@company.io"'],
)
def test_addresses_in_other_places_are_found(text):
    assert redact(text, KOTLIN)[1].total() == 1
