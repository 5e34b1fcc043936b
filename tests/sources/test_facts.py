"""What is read off a source: its licence, which of its paths are unsafe, and what git's complaints mean."""

import os
import re
import shlex
import shutil

import pytest

from codefit.errors import UserError
from codefit.sources.licences import spdx_id, stated_licence
from codefit.sources.source import unsafe
from tests.support.sources import parse, read, write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Permission is hereby granted, free of charge, ... The above copyright notice and this permission notice",
            "MIT",
        ),
        ("Redistribution and use in source and binary forms ... Neither the name of", "BSD-3-Clause"),
        ("Redistribution and use in source\n and binary forms", "BSD-2-Clause"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007", "GPL-3.0"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\n  Version 2.1", "LGPL-2.1"),
        ("Mozilla Public License, version 2.0", "MPL-2.0"),
        ("This is free and unencumbered software released into the public domain.", "Unlicense"),
        ('[project]\nlicense = "MIT OR Apache-2.0"\n', "MIT OR Apache-2.0"),
        ("All rights reserved.", ""),
    ],
)
def test_licences(text, expected):
    assert spdx_id(text) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("License-Expression: mit or apache-2.0", "MIT OR Apache-2.0"),
        ("License-Expression: (MIT OR Apache-2.0) AND BSD-3-Clause", "(MIT OR Apache-2.0) AND BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("License-Expression: as you like\nClassifier: License :: OSI Approved :: MIT License", "MIT"),
        ("License-Expression:\n MIT", "MIT"),
        ("License-Expression: MIT\nLicense-Expression: ISC", ""),
        ("Name: a\n\nLicense-Expression: MIT", ""),
        ("License: as you like", ""),
        ("\0\ufffd: \x85\n\n:::", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_licences_of_metadata(head, expected, end):
    assert stated_licence(head.replace("\n", end)) == expected


def test_packages_side_by_side_have_no_common_licence(tmp_path):
    one = {"a-1.dist-info/METADATA": b"License-Expression: MIT\n", "a.py": b"x = 1\n"}
    assert read(write(tmp_path / "one", one))[1][2] == "MIT"
    assert read(write(tmp_path / "two", {**one, "b-1.dist-info/METADATA": b"License-Expression: MIT\n"}))[1][2] == ""


MIT_TEXT = b"Permission is hereby granted, free of charge, ... The above copyright notice and this permission notice"
INSTALLED = {
    "a/x.py": b"a = 1\n",
    "a/left_over.py": b"a = 2\n",
    "shared/of_a.py": b"a = 3\n",
    "a-1.dist-info/METADATA": b"Name: a\nLicense-Expression: Apache-2.0 OR MIT\n\nApache License Version 2.0\n",
    "a-1.dist-info/RECORD": b'a/x.py,sha256=1,6\nshared/of_a.py,,\n"a/y, z.py",,\n../../bin/a,,\n',
    "b.py": b"b = 1\n",
    "shared/of_b.py": b"b = 2\n",
    "b-1.dist-info/METADATA": b"Name: b\n",
    "b-1.dist-info/RECORD": b"b.py,,\nshared/of_b.py,,\n",
    "b-1.dist-info/licenses/LICENSE.txt": MIT_TEXT,
    "c/d/x.py": b"c = 1\n",
    "c_one.py": b"c = 2\n",
    "c-1.dist-info/METADATA": b"License: ISC\r\n Apache License Version 2.0\r\n"
    b"Classifier: License :: OSI Approved :: ISC License (ISCL)\r\n",
    "c-1.dist-info/top_level.txt": b"c\nc_one\n",
    "e/x.py": b"e = 1\n",
    "e-1.dist-info/METADATA": b"License: as you like\n",
    "e-1.dist-info/RECORD": b"e/x.py,,\n",
}


def test_files_of_installed_packages_have_the_licence_of_their_package(tmp_path):
    rows = parse(tmp_path / "raw.jsonl", write(tmp_path / "site-packages", INSTALLED), "--language", "python")
    assert {row.path: row.license for row in rows} == {
        "a/x.py": "Apache-2.0 OR MIT",
        "a/left_over.py": "",
        "shared/of_a.py": "Apache-2.0 OR MIT",
        "b.py": "MIT",
        "shared/of_b.py": "MIT",
        "c/d/x.py": "ISC",
        "c_one.py": "ISC",
        "e/x.py": "",
    }


def test_packages_deeper_in_a_source_are_not_looked_for(tmp_path):
    folder = write(tmp_path / "project", {f"lib/{path}": content for path, content in INSTALLED.items()})
    assert {row.license for row in parse(tmp_path / "raw.jsonl", folder, "--language", "python")} == {""}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.kt", False),
        ("a..b/c", False),
        ("../a", True),
        ("a/../b", True),
        ("/a", True),
        ("a\\..\\b", True),
        ("c:/a", True),
        ("", True),
    ],
)
def test_unsafe_paths(path, expected):
    assert unsafe(path) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "fatal: could not read Username for 'https://x': terminal prompts disabled",
            "does not exist or needs a login",
        ),
        ("fatal: Authentication failed for 'https://x'", "refused the login; check git's stored credentials"),
        ("git@x: Permission denied (publickey).", "needs a login that was refused; check the ssh key"),
        ("Host key verification failed.", "has an unknown ssh host key; connect to it once"),
        ("remote: Repository not found.", "does not exist; check the name"),
        ("fatal: couldn't find remote ref HEAD", "place has no commit yet; commit something"),
        ("fatal: remote error: upload-pack: not our ref 123", "has no such revision; give a branch, a tag or a full"),
        ("fatal: unable to access 'https://x': Could not resolve host: x", "cannot be reached; check the network"),
        ("fatal: unable to access 'https://x': Failed to connect", "cannot be reached; check the network"),
        ("fatal: Could not read from remote repository.", "cannot be reached; check the address"),
        ("fatal: detected dubious ownership in repository", "belongs to another user; allow it with git config"),
        ("warning: x\nfatal: something new\nhint: y", r"git cannot read place \(something new\); check it"),
        ("", r"git cannot read place \(it gave no reason\); check it with git"),
    ],
)
def test_what_git_says_becomes_one_sentence(said, expected, tmp_path, monkeypatch):
    command = tmp_path / "bin" / "git"
    command.parent.mkdir()
    others = f'case " $* " in *" fetch "*) ;; *) exec {shutil.which("git")} "$@";; esac'
    command.write_text(f"#!/bin/sh\n{others}\nprintf %s {shlex.quote(said)} >&2\nexit 128\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    with pytest.raises(UserError) as error:
        read("https://example.invalid/place.git")
    assert re.search(expected.replace("place", "https://example.invalid/place.git"), str(error.value))
    assert "\n" not in str(error.value)
