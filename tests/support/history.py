"""Makes git repositories with a history, by one call of `git fast-import`."""

import subprocess
from datetime import UTC, datetime

from tests.support.sources import git


class History:
    """Commits by name. Each has the files of its first parent, the last commit unless others are named."""

    def __init__(self):
        self.names = []
        self.stream = []

    def commit(self, name, date, files, message="change", parents=None):
        """Add a commit; a file that is None is removed, a pair (mode, content) has another mode."""
        parents = (self.names[-1:] if parents is None else parents) or []
        self.names.append(name)
        stamp = b"a <a@example.invalid> %d +0000" % int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp())
        lines = [
            b"commit refs/heads/main",
            b"mark :%d" % len(self.names),
            b"committer " + stamp,
            data(message.encode()),
        ]
        for word, parent in zip([b"from"] + [b"merge"] * len(parents), parents, strict=False):
            lines.append(word + b" :%d" % (1 + self.names.index(parent)))
        if not parents and len(self.names) > 1:
            lines.insert(0, b"reset refs/heads/main")
        for path, content in files.items():
            if content is None:
                lines.append(b"D " + path.encode())
            else:
                mode, content = content if isinstance(content, tuple) else (b"100644", content)
                lines += [b"M %s inline %s" % (mode, path.encode()), data(content)]
        self.stream.append(b"\n".join(lines) + b"\n")
        return self

    def build(self, folder, bare=True):
        """Make the repository, and return its folder and the ids of its commits by name."""
        folder.mkdir(parents=True)
        git(folder, "init", "-q", "-b", "main", *(["--bare"] if bare else []))
        marks = folder.parent / f"{folder.name}.marks"
        command = ["git", "-C", str(folder), "fast-import", "--quiet", f"--export-marks={marks}"]
        subprocess.run(command, input=b"\n".join(self.stream), check=True)
        ids = dict(line.removeprefix(":").split() for line in marks.read_text().splitlines())
        return folder, {name: ids[str(number)] for number, name in enumerate(self.names, 1)}


def data(content):
    return b"data %d\n%s" % (len(content), content)
