"""Memory stays flat as a corpus grows: stages 1 and 2 on some files and on ten times as many of the same kind."""

import os
import random
import subprocess
import sys

import pytest

from codefit.manifest import ROOT

FILES = 120
MOST = 1.3


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of few and of ten times as many different files; each has the sizes of the other."""
    chance = random.Random(0)
    folders = []
    for count in (FILES, 10 * FILES):
        folder = tmp_path_factory.mktemp("files") / "project"
        folder.mkdir()
        for number in range(count):
            names = [f"name_{chance.randrange(1000)}" for _ in range(20 + number % 40)]
            lines = [f"def {name}_{number}(x):\n    return {name}(x) + {chance.randrange(99)}\n" for name in names]
            (folder / f"file{number}.py").write_text("\n".join(lines))
        folders.append(folder)
    return folders


def peak(script, *words):
    """Return the most memory that a script had, its worker processes aside."""
    process = subprocess.Popen(
        [sys.executable, ROOT / script, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss


def test_ten_times_the_files_need_hardly_more_memory(folders, tmp_path):
    words = ["--language", "python"]
    model = ["--model_name_or_path", ROOT / "data" / "base", "--num_workers", "1"]
    documents, pairs = [], []
    for number, folder in enumerate(folders):
        raw, output = tmp_path / f"{number}.jsonl", tmp_path / f"pairs{number}"
        documents.append(peak("parse_data.py", "--repository", folder, *words, "--output", raw))
        pairs.append(peak("preprocess_data.py", "--input", raw, *model, "--output", output))
    assert documents[1] <= MOST * documents[0]
    assert pairs[1] <= MOST * pairs[0], pairs
