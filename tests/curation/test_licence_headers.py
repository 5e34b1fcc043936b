"""Only what is legal goes from the top of a file; documentation and what tools read stays."""

import pytest

from codefit.code.languages import LANGUAGES
from codefit.curation.licence_headers import remove_licence_headers

APACHE = """ * Copyright 2020 The Authors.
 *
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS.
"""


@pytest.mark.parametrize(
    ("language", "text", "left"),
    [
        ("java", f"/*\n{APACHE} */\npackage a;\n", "package a;\n"),
        (
            "java",
            f"/*\n{APACHE} *\n * Reads the lines of a file.\n */\nclass A {{}}\n",
            "/*\n * Reads the lines of a file.\n */\nclass A {}\n",
        ),
        ("go", "// SPDX-License-Identifier: MIT\n//go:build unix\n\npackage a\n", "//go:build unix\n\npackage a\n"),
        ("go", "//go:build unix\n\n// Copyright 2021 B\n\npackage a\n", "//go:build unix\n\npackage a\n"),
        ("typescript", "// Copyright 2020 A\n/// <reference lib='a' />\nlet a\n", "/// <reference lib='a' />\nlet a\n"),
        ("python", "# Copyright 2020 A\n# mypy: strict\nimport a\n", "# mypy: strict\nimport a\n"),
        ("python", "#!/usr/bin/env python\n# (c) 2019 by B\nimport a\n", "#!/usr/bin/env python\nimport a\n"),
        ("kotlin", "/* Copyright /* 2020 */ A */\npackage a\n", "package a\n"),
        ("rust", "/* Copyright /* 2020 */ A */\nuse a;\n", "use a;\n"),
        ("php", "<?php\n/* Copyright 2020 A */\n\nclass A {}\n", "<?php\nclass A {}\n"),
        ("ruby", "# frozen_string_literal: true\n# (c) 2020 A\nx = 1\n", "# frozen_string_literal: true\nx = 1\n"),
    ],
)
def test_legal_text_is_removed_and_the_rest_is_kept(language, text, left):
    assert remove_licence_headers(text, LANGUAGES[language]) == (left, 1)
    assert remove_licence_headers(left, LANGUAGES[language]) == (left, 0)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("go", "// Package licenses compares the texts of licences.\npackage licenses\n"),
        ("python", "# Finds the licence: digits, then letters.\nimport re\n"),
        ("python", '# /// script\n# dependencies = []\n# license = "MIT"\n# ///\nimport a\n'),
        ("java", "/** Counts the copyright notices of a text, as is. */\nclass A {}\n"),
        ("python", "# Sorted in terms of size; liable to change.\nimport a\n"),
    ],
)
def test_comments_that_only_mention_licences_are_kept(language, text):
    assert remove_licence_headers(text, LANGUAGES[language]) == (text, 0)
