"""Secrets are found by shape. The examples are put together here, so that this file holds none."""

import base64
import json
import random
import re
import string
import time
from pathlib import Path

import pytest

from codefit.curation import secrets

CHARACTERS = string.ascii_letters + string.digits


def word(length: int, characters: str = CHARACTERS) -> str:
    return "".join(random.Random(length).choices(characters, k=length))


KEY_HEADER = "-----BEGIN RSA PRIVATE " + "KEY-----"
FOUND = {
    "private key": f"{KEY_HEADER}\n{word(64)}\n",
    "private key in a string literal": f'"{KEY_HEADER}\\n" +\n    "{word(64)}\\n"',
    "AWS key": "AKIA" + word(16, "ABCDEFGHJKLMNPQRSTUV234567"),
    "GitHub token": "ghp_" + word(36),
    "GitHub token, fine-grained": "github_pat_" + word(82),
    "GitLab token": "glpat-" + word(20),
    "Hugging Face token": "hf_" + word(34, string.ascii_letters),
    "Slack token": f"xoxb-{word(12, string.digits)}-{word(12, string.digits)}-{word(24)}",
    "Slack token in a webhook": f"https://hooks.slack.com/services/T{word(8)}/B{word(8)}/{word(24)}",
    "Google API key": "AIza" + word(35),
    "Stripe key": "sk_live_" + word(24),
    "OpenAI key": f"sk-{word(20)}T3Blbk" + f"FJ{word(20)}",
    "Anthropic key": f"sk-ant-api03-{word(95)}",
    "npm token": "npm_" + word(36),
    "secret by its name, of AWS": f'aws_secret_key = "{word(40)}"',
    "Azure storage key": "AccountKey" + f"={word(86)}==",
    "SendGrid key": f"SG.{word(22)}.{word(43)}",
    "Square token": "sq0csp-" + word(43),
    "Mailchimp key": word(32, string.ascii_lowercase + string.digits) + "-us12",
    "Telegram token": f"{word(9, string.digits)}:AA{word(33)}",
    "JSON web token": f"eyJ{word(33)}.eyJ{word(60)}.{word(43)}",
    "password in a URL": "postgresql://app:k3y" + "r1ng@db.internal/main",
    "PyPI token": "pypi-AgEIcHlw" + "aS5vcmc" + word(80),
}


@pytest.mark.parametrize("name", FOUND)
@pytest.mark.parametrize("around", ["{}", 'token = "{}"', "({})", "//{}", "\n{}\n"])
def test_a_secret_is_found_anywhere_in_a_text(name: str, around: str) -> None:
    assert secrets.kind_of_secret(around.format(FOUND[name])) == re.split(r",| in a (?:str|web)", name)[0]


@pytest.mark.parametrize(
    "text",
    [
        f'if line == "{KEY_HEADER}":\n    read_key()',  # a parser's constant
        KEY_HEADER.replace("PRIVATE", "PUBLIC") + "\n" + word(64),
        "ghp_" + "x" * 36,
        "AKIAIOSFODNN7EXAMPLE",
        "hf_hub_download_from_a_repository_of_models",
        "hf_" + word(34, string.ascii_lowercase),
        "ghp_" + word(35),
        "ghp_" + word(37),
        "xoxb-your-token-here",
        "the sk-learn package, task-ant-colony and mask_live_view",
        "AIza",
        "postgresql://user:password@localhost/db",
        "https://$USER:$PASSWORD@host",
        "jdbc:mysql://host:3306/a?b=c@d",
        "AC" + word(32, string.ascii_lowercase),
        "",
    ],
)
def test_text_that_only_looks_like_a_secret_is_kept(text: str) -> None:
    assert secrets.kind_of_secret(text) is None


def test_the_files_of_a_folder_are_scanned_line_by_line(tmp_path: Path) -> None:
    token = FOUND["GitHub token"]
    rows = [{"prompt": "x = 1\n", "completion": "y"}, {"prompt": f"\n{token}\n", "completion": "y"}, ["not a record"]]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.txt").write_bytes(b"\xff\xfe not UTF-8\n\n" + FOUND["npm token"].encode())

    assert list(secrets.scan(tmp_path)) == [
        secrets.Finding(Path("sub/notes.txt"), 3, "npm token"),
        secrets.Finding(Path("train.jsonl"), 2, "GitHub token"),
    ]


def test_a_secret_that_a_pair_cuts_in_two_is_found(tmp_path: Path) -> None:
    token = FOUND["GitHub token"]
    for name, fields in {"a": ("prompt", "completion"), "b": ("completion", "suffix")}.items():
        row = {"id": "1", "prompt": "", "completion": "", "suffix": ""}
        row |= {fields[0]: f"x = {token[:15]}", fields[1]: token[15:]}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
    assert [finding.kind for finding in secrets.scan(tmp_path)] == ["GitHub token"] * 2


def test_a_key_whose_header_ends_the_prompt_is_found(tmp_path: Path) -> None:
    row = {"id": "1", "prompt": KEY_HEADER + "\n", "completion": word(64)}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    assert [finding.kind for finding in secrets.scan(tmp_path)] == ["private key"]


@pytest.mark.slow
def test_scanning_is_fast(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "fun main() {\n    println(1)\n" * 80, "completion": "}"}) + "\n"
    (tmp_path / "train.jsonl").write_text(row * 4000)  # 10 MB
    started = time.process_time()
    assert not list(secrets.scan(tmp_path))
    assert time.process_time() - started < 2


BODY = [word(64 - n, CHARACTERS + "+/") for n in range(3)]


@pytest.mark.parametrize("kind", ["RSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("", "\n"),
        ("# ", "\n"),
        (" * ", "\n"),
        ("    |", "\n"),
        ('    b"', '\\n"\n'),
        ("", "\\n\\\n"),
        ("", "\\n"),
        ('"', '\\n" +\n'),
    ],
)
@pytest.mark.parametrize("fields", [(), ("Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-128-CBC,0123456789ABCDEF", "")])
def test_every_line_of_a_private_key_is_found(kind, left, right, fields):
    lines = [f"-----BEGIN {kind}-----", *fields, *BODY, f"-----END {kind}-----"]
    text = "x\n" + "".join(left + line + right for line in lines) + "y\n"
    found = [text[secret.start : secret.end] for secret in secrets.find_secrets(text) if secret.kind == "private key"]
    assert found == BODY


@pytest.mark.parametrize("before", ["\\n", "\\t", "\\x0a", "\\u000a", "%20", "\\r\\n"])
@pytest.mark.parametrize("name", ["GitHub token", "npm token", "Hugging Face token", "JSON web token"])
def test_a_token_after_an_escape_is_found(before, name):
    text = f'"a{before}{FOUND[name]}\\n"'
    assert FOUND[name] in [text[secret.start : secret.end] for secret in secrets.find_secrets(text)]


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("redis://:Zk8vQ2pLw@cache:6379/0", "Zk8vQ2pLw"),
        ("postgres://app:pa$$w0rdLong9@db/x", "pa$$w0rdLong9"),
        ("jdbc:mysql://db/x?user=a&password=Zk8vQ2pLw1", "Zk8vQ2pLw1"),
        ("jdbc:oracle:thin:scott/Zk8vQ2pLw@db:1521:x", "Zk8vQ2pLw"),
        ("jdbc:sqlserver://db;user=sa;password=Zk8vQ2pLw1;", "Zk8vQ2pLw1"),
    ],
)
def test_a_password_in_a_url_is_found(text, password):
    line = f'u = "{text}"'
    assert password in [line[secret.start : secret.end] for secret in secrets.find_secrets(line)]


VALUE = word(18)


@pytest.mark.parametrize(
    "text",
    [
        *('password = "{}"', "'api_key': '{}'", 'val apiKey: String = "{}"', 'private String dbPassword = "{}";'),
        *("$secret = '{}';", "'auth_token' => '{}',", 'clientSecret := "{}"', 'let access_key: &str = "{}";'),
        *('#define PASSWORD "{}"', "define('DB_PASSWORD', '{}');", "DB_PASSWORD={}\n", "password: {}\n"),
        *('"{{\\"token\\": \\"{}\\"}}"', "<password>{}</password>", '"Server=a;Password={};"', "secret: `{}`"),
    ],
)
def test_a_random_value_is_found_by_its_name(text):
    whole = text.format(VALUE)
    assert {whole[found.start : found.end] for found in secrets.find_secrets(whole)} == {VALUE}


@pytest.mark.parametrize(
    "text",
    [
        *(
            'password = "correct horse"',
            'token = "access_token_url"',
            'password = "changeme123"',
            "secret = getSecret1()",
        ),
        *('api_key = "YOUR_API_KEY_1"', "apiKey: config.apiKey2Value", 'password = "${DB_PASSWORD1}"', 'key = "{}"'),
        *('token = "Exaone4ForTokenClassification"', 'password = os.environ["X9"]', 'token_url = "https://a.b/c1"'),
        *('secret_name = "my-secret-2"', 'password: "test1234"', "token: rsa2048KeyValue", 'auth_key = "X-Auth-Key2"'),
    ],
)
def test_names_words_and_placeholders_are_not_secrets(text):
    assert secrets.kind_of_secret(text.replace("{}", VALUE)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "atom",
    ["password=", "eyJ.", "eyJ", "://", ":a@", "-----BEGIN PRIVATE KEY-----", "key: ", "token = '", "aws key", "\\n"],
)
def test_no_line_takes_long(atom):
    started = time.process_time()
    list(secrets.find_secrets((atom * 65_536)[:65_536]))
    assert time.process_time() - started < 2


VALUE = "pX7" + "q2Lm9Zt4Kd8Rw"
BASIC = base64.b64encode(f"ci:{VALUE}".encode()).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"  - name: DB_PASSWORD\n    value: {VALUE}\n",
        f'  - name: DB_PASSWORD\n    value: "{VALUE}"\n',
        f"<key>ApiSecret</key>\n<string>{VALUE}</string>\n",
        f"<name>db.password</name><value>{VALUE}</value>",
        f'const s = process.env.JWT_SECRET || "{VALUE}";',
        f'val s = System.getenv("JWT_SECRET") ?: "{VALUE}"',
        f"machine a.corp.io\n  login me\n  password {VALUE}\n",
        f"ENV DB_PASSWORD {VALUE}\n",
        f"İ = 1\nDB_PASSWORD = '{VALUE}'",
        f'"AKIA" + "{word(16, string.ascii_uppercase)}"',
        f"headers = {{'Authorization': 'Bearer {VALUE}{VALUE}'}}",
        f"Authorization: Basic {BASIC}",
        f'{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{BASIC}"}}}}}}',
        f"//registry.npmjs.org/:_authToken={word(36)}",
        f"_auth={BASIC}",
        f"curl -u admin:{VALUE} https://api.corp.io",
        f"Server=h;Database=d;User ID=u;Password={VALUE};",
        f"https://discord.com/api/webhooks/{word(18, string.digits)}/{word(68)}",
        f"shpat_{word(32, '0123456789abcdef')}",
        f"bot{word(10, '123456789')}:AA{word(33)}",
        f"secret: {word(32, string.ascii_lowercase + string.digits)}",
    ],
)
def test_a_secret_is_found_in_many_wrappings(text: str) -> None:
    assert secrets.kind_of_secret(f"import a\n\n{text}\n\nb = 1\n")


def test_every_piece_of_a_secret_in_pieces_is_found() -> None:
    text = f'val awsSecretAccessKey = "{VALUE}" +\n    "{VALUE[::-1]}"\n'
    found = {text[secret.start : secret.end] for secret in secrets.find_secrets(text)}
    assert found == {VALUE, VALUE[::-1]}


@pytest.mark.parametrize(
    "text",
    [
        'token = "7f5d681a-e5ce-2dda-2d2e-dae12273b552"',
        'privateKeyPath = "/etc/ssl/private/key1.pem"',
        'password_min = "MinLength8Chars"',
        'token_version = "v1.2.3-rc4"',
        'signing_key: "ES256K-R"',
        'token = "user2@corp.io"',
        'data-token-id="node_12ab34"',
        "postgres://postgres:postgres@localhost/db",
        "ftp://anonymous:guest@host/x",
        f'start("{KEY_HEADER}")\nparsePrivateKeyFromPemEncodedDataWithHeaders(line)',
        "Authorization: Basic " + base64.b64encode(b"user:password").decode(),
        "Authorization: Bearer your-access-token-goes-here",
        'password = request.POST["password1"]',
        'secret_chars = "abcdefghijklmnopqrstuvwxyz0123456789"',
    ],
)
def test_what_is_near_the_name_of_a_secret_can_be_none(text: str) -> None:
    assert secrets.kind_of_secret(text) is None


@pytest.mark.parametrize("value", ["a" * 190 + "!", "Abc" * 60 + "!", "a." * 90 + "!", "aaa-" * 40 + "!", "a1" * 90])
def test_no_value_takes_long(value: str) -> None:
    started = time.process_time()
    list(secrets.find_secrets(f'password = "{value}"\n' * 50))
    assert time.process_time() - started < 1
