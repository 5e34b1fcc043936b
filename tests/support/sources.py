"""Makes the sources of stage 1, and runs it on them."""

import io
import json
import os
import subprocess
import tarfile

import parse_data
from codefit.records import Rejection, read_documents
from codefit.sources.licences import licence_of
from codefit.sources.locate import locate, open_source

LIMIT = 1000
IDENTITY = {
    f"GIT_{role}_{field}": value
    for role in ("AUTHOR", "COMMITTER")
    for field, value in {"NAME": "a", "EMAIL": "a@example.invalid", "DATE": "2020-02-02T02:02:02+00:00"}.items()
}


def git(folder, *words):
    command = ["git", "-C", str(folder), *words]
    result = subprocess.run(command, env={**os.environ, **IDENTITY}, capture_output=True, text=True, check=True)
    return result.stdout.strip()


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tar_of(path, files):
    with tarfile.open(path, "w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def read(text, revision=None, limit=LIMIT):
    """Return {path: content or name of the rule} of a source, and the open source's facts."""
    with open_source(locate(str(text)), revision) as source:
        members = source.members()
        contents = source.read([member for member in members if not member.rejection], limit)
        outcomes = [(member.path, member.rejection or next(contents)) for member in members]
        facts = source.commit, source.committed_at, licence_of(source, members)
    return {path: value.rule if isinstance(value, Rejection) else value for path, value in outcomes}, facts


def project(folder, name, files):
    return str(write(folder / name, files))


def parse(output, *words):
    parse_data.main(["--output", str(output), "--repository", *map(str, words)])
    return list(read_documents(str(output)))


def rejections(output):
    lines = output.with_name(output.name + ".rejected.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]
