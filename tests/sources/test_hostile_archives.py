"""Archives that were made to do harm: each is one sentence, or a rejection of one file with the others read."""

import gzip
import io
import random
import struct
import subprocess
import sys
import tarfile
import zipfile

import pytest

from codefit.errors import UserError
from codefit.manifest import ROOT
from tests.support.sources import parse, read, rejections, tar_of

GOOD = b"val a = 1\n"


def tar(path, *members, **options):
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT, **options) as file:
        for fields in members:
            content = fields.pop("content", b"")
            info = tarfile.TarInfo(fields.pop("name"))
            info.size = len(content)
            for name, value in fields.items():
                setattr(info, name, value)
            file.addfile(info, io.BytesIO(content))
    return path


def zipped(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in files:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = options.get("compression", zipfile.ZIP_STORED)
            file.writestr(info, content)
    return path


@pytest.mark.parametrize("mtime", ["1000000000000", "-1000000000000000", "1e400", "nan", "inf"])
def test_an_invalid_date_is_left_out(tmp_path, mtime):
    facts = {"name": "p/a.kt", "content": GOOD, "pax_headers": {"mtime": mtime}}
    path = tar(tmp_path / "x.tar.gz", facts, pax_headers={"comment": "a" * 40})
    assert read(path) == ({"a.kt": GOOD}, ("a" * 40, "", ""))
    (document,) = parse(tmp_path / "out.jsonl", path, "--language", "kotlin")
    assert document.content.encode() == GOOD


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_member_is_unreadable_whatever_packed_it(tmp_path, compression, seed):
    chance = random.Random(seed)
    content = b"".join(b"val a%d = %d\n" % (n, chance.getrandbits(60)) for n in range(30))
    path = zipped(tmp_path / "x.zip", [("a.kt", content), ("b.kt", GOOD)], compression=compression)
    data = bytearray(path.read_bytes())
    for _ in range(20):
        data[chance.randrange(34, 300)] = chance.randrange(256)
    path.write_bytes(data)
    found, _ = read(path)
    assert found["a.kt"] in {"unreadable", content}
    assert found["b.kt"] == GOOD


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_thousand_mutations_are_read_or_stated(tmp_path, suffix):
    chance = random.Random(suffix)
    path = tmp_path / f"x{suffix}"
    files = [(f"p/{n}.kt", GOOD * n) for n in range(5)]
    whole = zipped(path, files) if suffix == ".zip" else tar_of(path, dict(files))
    data = whole.read_bytes() if suffix == ".zip" else gzip.decompress(whole.read_bytes())
    for _ in range(500):
        odd = bytearray(data)
        for _ in range(chance.randrange(1, 9)):
            odd[chance.randrange(len(odd))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        odd = odd[: chance.choice([len(odd), chance.randrange(len(odd))])]
        path.write_bytes(odd if suffix == ".zip" else gzip.compress(odd, 1))
        try:
            found, _ = read(path)
        except UserError as error:
            found = {"error": str(error)}
        assert all(isinstance(value, bytes) or "\n" not in value for value in found.values())


def test_odd_names_are_rejections_and_the_others_are_read(tmp_path):
    names = ["p/a.kt", "", ".", "p/" + "x" * 100_000 + ".kt", "../a.kt", "p/b\x07.kt"]
    path = tar(tmp_path / "x.tar.gz", *({"name": name, "content": GOOD} for name in names))
    found, _ = read(path)
    assert found["p/a.kt"] == GOOD
    assert found["p/b\x07.kt"] == GOOD
    assert sorted(value for value in found.values() if value != GOOD) == ["path too long", *["unsafe path"] * 3]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_the_last_of_several_files_with_one_name_is_read_and_the_others_counted(tmp_path, form):
    files = [("p/a.kt", b"val a = 0\n"), ("p/b.kt", b"val b = 0\n"), ("./p/a.kt", GOOD)]
    if form == "tar":
        path = tar(tmp_path / "x.tar.gz", *({"name": name, "content": content} for name, content in files))
    else:
        path = zipped(tmp_path / "x.zip", files)
    documents = parse(tmp_path / "out.jsonl", path, "--language", "kotlin")
    assert {row.path: row.content for row in documents} == {"a.kt": GOOD.decode(), "b.kt": "val b = 0\n"}
    assert [(row["path"], row["rule"]) for row in rejections(tmp_path / "out.jsonl")] == [("a.kt", "same name")]


def test_a_size_below_zero_is_stated(tmp_path):
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.kt"))
    data = bytearray(plain.getvalue())
    data[124:136] = b"\xff" * 11 + b"\xf0"  # -16 in base 256
    data[148:156] = b"        "
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(UserError, match="is damaged or not an archive"):
        read(tmp_path / "x.tar.gz")


def test_a_header_that_is_endless_is_stated(tmp_path):
    path = tar(tmp_path / "x.tar.gz", {"name": "a.kt", "content": GOOD, "pax_headers": {"k": "x" * 2_000_000}})
    with pytest.raises(UserError, match="bytes of metadata for one file"):
        read(path)


def test_a_chain_of_headers_is_stated(tmp_path):
    info = tarfile.TarInfo("x")
    info.type = tarfile.XGLTYPE
    block = info.tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(block * 50_000))
    with pytest.raises(UserError, match="is damaged or not an archive"):
        read(tmp_path / "x.tar.gz")


def test_archives_in_an_archive_are_files(tmp_path):
    inner = zipped(tmp_path / "inner.zip", [("a.kt", GOOD)])
    path = tar(
        tmp_path / "x.tar.gz", {"name": "p/i.zip", "content": inner.read_bytes()}, {"name": "p/a.kt", "content": GOOD}
    )
    assert [row.path for row in parse(tmp_path / "out.jsonl", path, "--language", "kotlin")] == ["a.kt"]


def test_a_hard_link_is_the_file_that_it_names(tmp_path):
    link = {"name": "p/a.kt", "type": tarfile.LNKTYPE, "linkname": "p/a"}
    path = tar(tmp_path / "x.tar.gz", {"name": "p/a", "content": GOOD}, link)
    assert read(path)[0] == {"a": GOOD, "a.kt": GOOD}


def test_a_zip_from_windows_has_folders(tmp_path):
    path = zipped(tmp_path / "x.zip", [("p\\src\\a.kt", GOOD), ("p\\..\\..\\b.kt", GOOD)])
    assert read(path)[0] == {"src/a.kt": GOOD, "../../b.kt": "unsafe path"}


def renamed(path, old, new):
    """Write other bytes over a name of a zip, in the file and in the directory."""
    data = path.read_bytes()
    assert len(old) == len(new)
    assert data.count(old) == 2
    path.write_bytes(data.replace(old, new))


@pytest.mark.parametrize("name", [b"caf\xe9.kt", b"\xff\xfe\x00.kt", b"\xed\xa0\x80z.kt"])
@pytest.mark.parametrize("flagged", ["ü12345", "abc1234"])
def test_a_name_in_a_zip_that_is_not_utf8_costs_only_its_file(tmp_path, name, flagged):
    """The first letter decides whether the zip says that its name is UTF-8."""
    old = f"{flagged}.kt".encode()
    path = zipped(tmp_path / "x.whl", [("a.kt", GOOD), (f"{flagged}.kt", GOOD), ("b.kt", b"val b = 2\n")])
    renamed(path, old, name.rjust(len(old), b"z"))
    found, _ = read(path)
    assert (found.pop("a.kt"), found.pop("b.kt")) == (GOOD, b"val b = 2\n")
    assert list(found.values()) == ["path is not UTF-8"]
    parse(tmp_path / "out.jsonl", path, "--language", "kotlin")
    assert [row["rule"] for row in rejections(tmp_path / "out.jsonl")] == ["path is not UTF-8"]


@pytest.mark.parametrize("name", ["über/日本.kt", "😀.kt", "e\u0301.kt", " .kt", "a\nb.kt", "-x.kt", "x" * 200 + ".kt"])
def test_odd_names_in_a_zip_are_read(tmp_path, name):
    path = zipped(tmp_path / "x.zip", [("p/a.kt", GOOD), (f"p/{name}", b"val b = 2\n")])
    assert read(path)[0] == {"a.kt": GOOD, name: b"val b = 2\n"}


def test_utf8_names_that_the_zip_does_not_call_so_are_read(tmp_path):
    path = zipped(tmp_path / "x.zip", [("a.kt", GOOD), ("xyz.kt", b"val b = 2\n")])
    renamed(path, b"xyz.kt", "日.kt".encode())
    assert read(path)[0] == {"a.kt": GOOD, "日.kt": b"val b = 2\n"}


@pytest.mark.parametrize("name", [b"../xy.kt", b"/abcd.kt", b"x\0yzv.kt", b"C:\\ab.kt"])
def test_a_name_in_a_zip_that_leads_elsewhere_costs_only_its_file(tmp_path, name):
    path = zipped(tmp_path / "x.zip", [("a.kt", GOOD), ("12345.kt", b"val b = 2\n")])
    renamed(path, b"12345.kt", name)
    found, _ = read(path)
    assert found.pop("a.kt") == GOOD
    assert list(found.values()) == ["unsafe path"]


def test_an_odd_entry_of_a_zip_costs_at_most_its_file(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("a.kt", "b.kt", "c.kt"):
            info = zipfile.ZipInfo(name)
            info.extra = b"\x55\x54\x05\x00\x01abcd"
            file.writestr(info, f"val {name[0]} = 1\n")
    data = bytearray(path.read_bytes())
    second = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + 1)
    third = data.find(b"PK\x01\x02", second + 1)
    data[second + 6] = 99  # a format of the future
    at = data.find(b"\x55\x54\x05\x00", third)
    data[at + 2] = 200  # an extra field that says a false length
    path.write_bytes(data)
    assert read(path)[0] == {f"{name}.kt": f"val {name} = 1\n".encode() for name in "abc"}


def test_a_file_in_a_zip_that_looks_like_its_directory_stays_as_it_is(tmp_path):
    content = b"PK\x01\x02" + bytes(range(128, 255)) * 3
    path = zipped(tmp_path / "x.zip", [("a.kt", content), ("b.kt", GOOD)])
    assert read(path)[0] == {"a.kt": content, "b.kt": GOOD}


LISTED = """
import resource, sys
from pathlib import Path
from codefit.errors import UserError
from codefit.sources import archive
archive.MAX_MEMBERS = 20_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with archive.open_archive(Path(sys.argv[1])) as source:
        source.members()
except UserError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_an_archive_of_countless_files_is_refused_before_it_fills_the_memory(tmp_path, form):
    number = 400_000
    if form == "tar":
        path = tmp_path / "x.tar.gz"
        path.write_bytes(gzip.compress(tarfile.TarInfo("a").tobuf() * number, 1))
    else:
        path = tmp_path / "x.zip"
        entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entry) * number, 0, 0)
        path.write_bytes(entry * number + end)
    command = [sys.executable, "-c", LISTED, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said, megabytes = done.stdout.splitlines()
    assert "20,000 files, so it is refused" in said
    assert int(megabytes) < 100  # 400,000 members would be 300 and more
