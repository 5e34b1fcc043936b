"""What is read off a source: its licence, which of its paths are unsafe, and what git's complaints mean."""

import re

import pytest
from test_sources import read, write

from codefit.sources import unsafe
from codefit.sources.licences import spdx_id


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
        ("Classifier: License :: OSI Approved :: Apache Software License", "Apache-2.0"),
        ("All rights reserved.", ""),
    ],
)
def test_licences(text, expected):
    assert spdx_id(text) == expected


def test_packages_side_by_side_have_no_common_licence(tmp_path):
    one = {"a-1.dist-info/METADATA": b"License-Expression: MIT\n", "a.py": b"x = 1\n"}
    assert read(write(tmp_path / "one", one))[1][2] == "MIT"
    assert read(write(tmp_path / "two", {**one, "b-1.dist-info/METADATA": b"License-Expression: MIT\n"}))[1][2] == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [("a/b.kt", False), ("a..b/c", False), ("../a", True), ("a/../b", True), ("/a", True), ("a\\..\\b", True),
     ("c:/a", True), ("", True)],
)  # fmt: skip
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
        ("fatal: remote error: upload-pack: not our ref 123", "has no such revision; give a branch, a tag or a full"),
        ("fatal: unable to access 'https://x': Could not resolve host: x", "cannot be reached; check the network"),
        ("fatal: unable to access 'https://x': Failed to connect", "cannot be reached; check the network"),
        ("fatal: Could not read from remote repository.", "cannot be reached; check the address"),
        ("fatal: detected dubious ownership in repository", "belongs to another user; allow it with git config"),
        ("warning: x\nfatal: something new\nhint: y", r"git cannot read place \(fatal: something new\); check it"),
        ("", r"git cannot read place \(it gave no reason\); check it with git itself"),
    ],
)
def test_what_git_says_becomes_one_sentence(said, expected):
    from codefit.sources.git import _sentence

    assert re.search(expected, _sentence("place", said))
    assert "\n" not in _sentence("place", said)
