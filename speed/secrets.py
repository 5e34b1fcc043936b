"""Secret detection: recall on planted secrets, false positives in real code, and time.

    python -m speed.secrets --files path/to/site-packages path/to/npm --count 10000 --seed 0

Planted are seeded random secrets of every kind, each in a line of code, in a comment, in a JSON text, or behind an
escape; half of them only a name gives away. detect-secrets, with its default plugins, gets the same texts. A file of
real code that is hit counts as a false hit: `--show` prints what was hit, so that true ones can be told.
"""

import argparse
import random
import signal
import string
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from codefit import cli, console
from codefit.curation.secrets import find_secrets

LETTERS = string.ascii_letters + string.digits
NAMES = (
    *("password", "DB_PASSWORD", "api_key", "apiKey", "client_secret", "auth_token", "accessToken", "SECRET_KEY"),
    *("passphrase", "aws_secret_access_key", "private_key", "encryptionKey"),
)
ASSIGNMENTS = (
    *('{name} = "{value}"', "{name} = '{value}'", '"{name}": "{value}",', "{name}={value}", "{name}: {value}"),
    *('val {name}: String = "{value}"', 'private static final String {name} = "{value}";', "${name} = '{value}';"),
    *("'{name}' => '{value}',", '{name} := "{value}"', "const {name} = `{value}`;", 'let {name}: &str = "{value}";'),
    *(
        '#define {name} "{value}"',
        "define('{name}', '{value}');",
        '# {name}="{value}"',
        '"{{\\"{name}\\": \\"{value}\\"}}"',
    ),
    *("<{name}>{value}</{name}>", 'os.environ["{name}"] = "{value}"'),
)
LIMIT = 5.0  # seconds of processor time that detect-secrets gets for a text
SHAPES = ("{value}", 'x = "{value}"', "# {value}", 'x = "a\\n{value}\\n"', '{{"x": "{value}"}}', "f('{value}', 1)")


class TooSlow(Exception):
    """A text took longer than LIMIT. It is no OSError such as TimeoutError, which detect-secrets would swallow."""


def build_parser() -> cli.Parser:
    parser = cli.Parser(__doc__)
    parser.add_argument("--files", type=Path, nargs="+", required=True, help="folders of real code")
    parser.add_argument("--count", type=cli.number(int, 1), default=10_000, help="files of real code to read")
    parser.add_argument("--planted", type=cli.number(int, 1), default=2000, help="secrets to plant")
    parser.add_argument(
        "--compared", type=cli.number(int, 0), default=500, help="of these files, those that detect-secrets reads too"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the planted secrets and of the choice of files")
    parser.add_argument("--show", action="store_true", help="print the flagged lines of real code")
    return parser


def word(chance: random.Random, length: int, characters: str = LETTERS) -> str:
    return "".join(chance.choices(characters, k=length))


def private_key(chance: random.Random) -> str:
    kind = chance.choice(
        ["RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PGP PRIVATE KEY BLOCK"]
    )
    lines = [f"-----BEGIN {kind}-----", *(word(chance, 64, LETTERS + "+/") for _ in range(6)), f"-----END {kind}-----"]
    left, right = chance.choice(
        [
            ("", "\n"),
            ("# ", "\n"),
            ("    |", "\n"),
            ('    "', '\\n" +\n'),
            ('    b"', '\\n"\n'),
            ("", "\\n\\\n"),
            ("", "\\n"),
        ]
    )
    return "".join(left + line + right for line in lines)


def shaped(chance: random.Random) -> str:
    """Return a secret that can be recognised by its format."""
    makers: list[Callable[[], str]] = [
        lambda: "AKIA" + word(chance, 16, "ABCDEFGHJKLMNPQRSTUV234567"),
        lambda: "ghp_" + word(chance, 36),
        lambda: "glpat-" + word(chance, 20),
        lambda: "hf_" + word(chance, 34, string.ascii_letters),
        lambda: f"xoxb-{word(chance, 12, string.digits)}-{word(chance, 12, string.digits)}-{word(chance, 24)}",
        lambda: "AIza" + word(chance, 35),
        lambda: "sk_live_" + word(chance, 24),
        lambda: "npm_" + word(chance, 36),
        lambda: f"SG.{word(chance, 22)}.{word(chance, 43)}",
        lambda: f"eyJ{word(chance, 33)}.eyJ{word(chance, 60)}.{word(chance, 43)}",
        lambda: f"postgres://app:{word(chance, 12, LETTERS + '$!')}@db.internal/main",
        lambda: f"redis://:{word(chance, 14)}@cache:6379/0",
        lambda: f"jdbc:mysql://db:3306/x?user=a&password={word(chance, 12)}",
    ]
    return chance.choice(SHAPES).format(value=chance.choice(makers)())


def named(chance: random.Random) -> str:
    """Return a random value that can be recognised only by its variable name."""
    symbols = chance.choice(["", "", "!@#$%^*-_+"])
    value = ""
    while not any(map(str.isdigit, value)) or not any(map(str.isalpha, value)):
        value = word(chance, chance.randrange(10, 40), LETTERS + symbols)
    return chance.choice(ASSIGNMENTS).format(name=chance.choice(NAMES), value=value)


def planted(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yield kind and text of each planted secret."""
    chance = random.Random(seed)
    for number in range(count):
        kind, make = [("named", named), ("shaped", shaped), ("named", named), ("private key", private_key)][number % 4]
        yield kind, f"import os\n\n{make(chance)}\n\nprint(os)\n"


def with_codefit(text: str) -> bool:
    """Return whether codefit finds something in a text."""
    return next(find_secrets(text), None) is not None


def with_detect_secrets(text: str) -> bool:
    """Return whether a default plugin of detect-secrets finds something in a file that holds a text.

    Raises:
        TooSlow: it takes longer than LIMIT.
    """
    from detect_secrets.core import scan

    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
        try:
            return next(iter(scan.scan_file(file.name)), None) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _stop(*_: object) -> None:
    raise TooSlow


def measured(name: str, finds: Callable[[str], bool], texts: list[tuple[str, str]], files: list[str]) -> list[str]:
    """Return a row of the table: recall by kind, files hit of 1,000, processor seconds, and files over the limit."""
    total = Counter(kind for kind, _ in texts)
    found = Counter(kind for kind, text in console.progress(texts, f"{name}, planted") if finds(text))
    started = time.process_time()
    hits = slow = 0
    for text in console.progress(files, f"{name}, files", unit="file"):
        try:
            hits += finds(text)
        except TooSlow:
            slow += 1
    seconds = time.process_time() - started
    recalls = [f"{found.total() / total.total():.3f}", *(f"{found[kind] / total[kind]:.3f}" for kind in total)]
    return [name, *recalls, str(len(files)), f"{1000 * hits / max(1, len(files)):.2f}", f"{seconds:.1f}", str(slow)]


def real_files(folders: list[Path], count: int, seed: int) -> list[Path]:
    found = sorted(
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".js", ".java", ".ts", ".kt", ".kts"}
    )
    random.Random(seed).shuffle(found)
    return [path for path in found if path.is_file() and path.stat().st_size < 1_000_000][:count]


def main(argv: list[str] | None = None) -> None:
    args: argparse.Namespace = build_parser().parse_args(argv)
    from detect_secrets.settings import default_settings

    texts = list(planted(args.planted, args.seed))
    paths = real_files(args.files, args.count, args.seed)
    files = [path.read_text("utf-8", "replace") for path in paths]
    rows = [measured("codefit", with_codefit, texts, files)]
    if args.compared:
        rows.append(measured("codefit, the same files", with_codefit, texts, files[: args.compared]))
        signal.signal(signal.SIGVTALRM, _stop)
        with default_settings():
            rows.append(measured("detect-secrets", with_detect_secrets, texts, files[: args.compared]))
    kinds = list(dict.fromkeys(kind for kind, _ in texts))
    columns = ["finder", "recall", *kinds, "files", "files hit of 1,000", "CPU seconds", f"over {LIMIT} s"]
    console.show(console.table(rows, columns))
    console.show(f"{len(texts)} planted secrets, {len(files)} files of {sum(map(len, files)) / 1e6:.0f} MB")
    if args.show:
        for path, text in zip(paths, files, strict=True):
            for secret in find_secrets(text):
                line = text.count("\n", 0, secret.start) + 1
                console.show(f"{path}:{line}: {secret.kind}: {text[secret.start : secret.end]!r}")


if __name__ == "__main__":
    cli.run(main)
