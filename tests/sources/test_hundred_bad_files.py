"""A hundred bad files go through every kind of source: each is a document or has its reason, and nothing of it runs."""

import errno
import io
import json
import os
import subprocess
import tarfile
import zipfile

import pytest

from codefit.errors import UserError
from codefit.sources.directory import Directory
from tests.support.sources import git, parse

GOOD = "fun main() {\n    println(%d)\n}\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 1\n"
LIMIT = 1_000_000
NAMES = (
    *("new\nline.kt", "-rf.kt", "--upload-pack=x.kt", "a b.kt", "$(touch ran).kt", "'\".kt", "tab\t.kt"),
    *("ünïcode 名.kt", "\x1b[31mred.kt", "n" * 240 + ".kt", "\u202ertl.kt"),
)


def hundred():
    """Return {name as bytes: (content, rule or "")}; contents differ, so that none is the same blob."""
    files = {}

    def add(name, content, rule=""):
        files[os.fsencode(name) if isinstance(name, str) else name] = (content, rule)

    for n in range(10):
        good = (GOOD % n).encode()
        add(f"cut{n}.kt", good + "ä€😀"[n % 3].encode()[:-1], "not UTF-8")
        add(f"latin{n}.kt", good + "größe".encode("latin-1"), "not UTF-8")
        add(f"mixed{n}.kt", good + "größe".encode() + "größe".encode("cp1252"), "not UTF-8")
        add(f"utf16{n}.kt", (GOOD % n).encode(("utf-16", "utf-16-le", "utf-16-be", "utf-32")[n % 4]), "binary")
        add(f"nul{n}.kt", good + b"\0", "binary")
        add(f"bytes{n}.kt", bytes((i * 7 + n) % 256 for i in range(4000)), "binary")
        add(f"pointer{n}.kt", POINTER % n, "LFS pointer")
        add(f"bom{n}.kt", b"\xef\xbb\xbf" + good)
        add(f"crlf{n}.kt", good.replace(b"\n", b"\r\n"))
    add("return.kt", (GOOD % 20).replace("\n", "\r").encode())
    add("deep.kt", b"val x = " + b"(" * 90_000 + b")" * 90_000)
    add("/".join("d" * 50) + "/nested.kt", b"val nested = 1\n")
    add("empty.kt", b"", "too small")
    add("surrogate.kt", b"// \xed\xa0\x80\n", "not UTF-8")
    add("overlong.kt", b"// \xc0\xaf\n", "not UTF-8")
    add("late.kt", b"// x\n" * 2000 + b"\0")
    add("control.kt", bytes(range(1, 32)))
    add("long.kt", b"x" * (LIMIT + 1), "too large")
    for number, name in enumerate(NAMES):
        add(name, b"val name = %d\n" % number)
    add(b"\xff\xfe.kt", b"val latin = 1\n", "path is not UTF-8")
    return files


FILES = hundred()


def fill(folder):
    for name, (content, _) in FILES.items():
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
    (folder / "loop.kt").symlink_to("loop.kt")
    (folder / "out.kt").symlink_to("/etc/passwd")
    (folder / "circle").symlink_to(folder)
    return folder


def as_folder(tmp_path):
    folder = fill(tmp_path / "bad")
    os.mkfifo(folder / "pipe.kt")
    with open(folder / "line.kt", "wb") as file:
        file.truncate(100_000_000)  # one line of 100 MB, of which the disk sees nothing
    (folder / "secret.kt").write_bytes(b"val secret = 1\n")
    (folder / "secret.kt").chmod(0)
    unreadable = "" if os.access(folder / "secret.kt", os.R_OK) else "unreadable"  # root reads everything
    return folder, {"pipe.kt": "not a regular file", "line.kt": "too large", "secret.kt": unreadable}


def as_git(tmp_path):
    folder = fill(tmp_path / "bad")
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    head = "1" * 40
    git(folder, "update-index", "--add", "--cacheinfo", f"160000,{head},module.kt")
    git(folder, "commit", "-qm", "bad")
    return folder, {"module.kt": "submodule"}


def as_archive(tmp_path):
    path = tmp_path / "bad.tar.gz"
    extra = {
        "hard.kt": tarfile.LNKTYPE,
        "device.kt": tarfile.CHRTYPE,
        "block.kt": tarfile.BLKTYPE,
        "p.kt": tarfile.FIFOTYPE,
    }
    with tarfile.open(path, "w:gz", compresslevel=1) as file:
        file.add(fill(tmp_path / "bad"), "bad")
        for name, kind in extra.items():
            info = tarfile.TarInfo(f"bad/{name}")
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
        info = tarfile.TarInfo("bad/../../up.kt")
        info.size = 1
        file.addfile(info, io.BytesIO(b"u"))
    rules = {name: "symlink" if name == "hard.kt" else "not a regular file" for name in extra}
    return path, {**rules, "../../up.kt": "unsafe path"}


def as_zip(tmp_path):
    """As a zip, whose names are text: the one that is not UTF-8 cannot be in it."""
    path, folder = tmp_path / "bad.zip", fill(tmp_path / "bad")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for whole in sorted(folder.rglob("*")):
            name = os.path.relpath(whole, folder)
            if "\udcff" not in name:
                info = zipfile.ZipInfo(f"bad/{name}")
                info.external_attr = whole.lstat().st_mode << 16
                if whole.is_symlink() or whole.is_file():
                    file.writestr(info, os.readlink(whole) if whole.is_symlink() else whole.read_bytes())
        file.writestr("bad/../../up.kt", b"u")
    return path, {"../../up.kt": "unsafe path", "\\xff\\xfe.kt": None}


@pytest.mark.parametrize("make", [as_folder, as_git, as_archive, as_zip])
def test_a_hundred_bad_files(tmp_path, make):
    assert len(FILES) >= 100
    source, extra = make(tmp_path)
    output = tmp_path / "out.jsonl"
    documents = {d.path: d.content for d in parse(output, source)}
    lines = output.with_name(output.name + ".rejected.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    rejected = {row["path"]: row["rule"] for row in map(json.loads, lines)}  # one line each, whatever the name
    expected = {name.decode("utf-8", "backslashreplace"): rule for name, (_, rule) in FILES.items()}
    expected |= {"loop.kt": "symlink", "out.kt": "symlink", **extra}
    expected = {path: rule for path, rule in expected.items() if rule is not None}
    assert rejected == {path: rule for path, rule in expected.items() if rule}
    assert documents.keys() == {path for path, rule in expected.items() if not rule}
    for path, content in documents.items():
        if path.encode() in FILES:
            assert content == FILES[path.encode()][0].removeprefix(b"\xef\xbb\xbf").decode()
    manifest = json.loads((tmp_path / "out.jsonl.manifest.json").read_text())
    assert manifest["files"] == len(expected) == manifest["documents"] + sum(manifest["rejections"].values())
    assert not list(tmp_path.rglob("ran"))


def test_nothing_that_a_repository_plants_is_run(tmp_path):
    """Hooks, filters, LFS, textconv, fsmonitor, a signature checker, ssh, submodules: each would leave a trace."""
    witness, folder = tmp_path / "ran", tmp_path / "evil"
    folder.mkdir()
    (folder / "a.kt").write_bytes(b"val a = 1\n")
    (folder / "b.kt").write_bytes(POINTER % 1)
    (folder / ".gitattributes").write_text("*.kt filter=lfs diff=evil text eol=crlf ident\n")
    (folder / ".lfsconfig").write_text("[lfs]\n\turl = file:///etc\n")
    (folder / ".gitmodules").write_text(
        f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {witness}\n\tupdate = !touch\n'
    )
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "update-index", "--add", "--cacheinfo", "160000," + "1" * 40 + ",x")
    git(folder, "commit", "-qm", "evil")
    signed = git(folder, "cat-file", "commit", "HEAD").replace(
        "\n\n", "\ngpgsig -----BEGIN PGP SIGNATURE-----\n \n x\n\n", 1
    )
    made = ["git", "-C", str(folder), "hash-object", "-t", "commit", "-w", "--stdin", "--literally"]
    commit = subprocess.run(made, input=signed + "\n", capture_output=True, text=True, check=True).stdout.strip()
    git(folder, "update-ref", "HEAD", commit)
    command = f"touch {witness}"
    for key in (
        "filter.lfs.smudge",
        "filter.lfs.process",
        "filter.lfs.clean",
        "diff.evil.textconv",
        "diff.external",
        "core.fsmonitor",
        "core.pager",
        "gpg.program",
        "core.sshCommand",
        "uploadpack.packObjectsHook",
        "core.alternateRefsCommand",
        "credential.helper",
        "core.editor",
    ):
        git(folder, "config", key, command)
    git(folder, "config", "log.showSignature", "true")
    (tmp_path / "gpg").write_text(f"#!/bin/sh\ntouch {witness}\n")
    (tmp_path / "gpg").chmod(0o755)
    git(folder, "config", "gpg.program", str(tmp_path / "gpg"))
    for hook in ("post-checkout", "reference-transaction", "pre-auto-gc", "post-index-change", "pre-upload"):
        path = folder / ".git" / "hooks" / hook
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\ntouch {witness}\n")
        path.chmod(0o755)
    for number, source in enumerate([folder, f"file://{folder}"]):
        documents = parse(tmp_path / f"out{number}.jsonl", source)
        assert [(d.path, d.content, d.commit) for d in documents] == [("a.kt", "val a = 1\n", commit)]
    assert not witness.exists()
    (folder / ".gitmodules").unlink()
    subprocess.run(["git", "-C", str(folder), "status"], capture_output=True, check=False)
    assert witness.exists()  # and it would have been run


@pytest.mark.parametrize("closed", ["source", "below"])
def test_a_folder_that_cannot_be_listed_is_one_sentence(tmp_path, monkeypatch, closed):
    (tmp_path / "source" / "below").mkdir(parents=True)
    listed = os.scandir

    def refusing(path):
        if os.fsdecode(path).endswith(closed):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(UserError, match=rf"^cannot read \S+{closed}: Permission denied; check its permissions\.$"):
        Directory(tmp_path / "source").members()
