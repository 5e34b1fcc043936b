"""Turn released archives of a project into a git repository with one commit per release, for parse_data.py --history.

    python -m pip download --no-deps --only-binary :all: --dest outputs/releases peft==0.10.0
    python -m runs.history_of_releases outputs/releases/*.whl --output outputs/peft.git
    python -m runs.history_of_releases a-1.0.tar.gz a-2.0.tar.gz --date 1.0=2024-03-01 2.0=2025-01-15 --output a.git

The archives are sdists or wheels. They are put in the order of their versions, read in place, and none of their code is
run. The date of a release is that of its newest file. Some build tools give every file the same date; then --date says
when a release was made. The repository has no work tree.
"""

import argparse
import contextlib
import dataclasses
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from packaging import utils
from packaging.version import Version

from codefit import cli, console, outputs
from codefit.dates import moment
from codefit.errors import UserError
from codefit.manifest import Manifest
from codefit.sources.archive import open_archive
from codefit.sources.git import Git

MAX_BYTES = 64 << 20  # of one file; larger ones are left out
WHO = "codefit <codefit@example.invalid>"  # of the commits


@dataclasses.dataclass(frozen=True, slots=True)
class Release:
    """An archive with the name and version in its file name, and its date."""

    archive: Path
    name: str
    version: Version
    date: datetime | None = None


def named(archive: Path) -> Release:
    """Return the release of an archive, without its date.

    Raises:
        UserError: the file name is not that of an sdist or a wheel.
    """
    if not archive.is_file():
        raise UserError(f"{archive} does not exist; check the path.")
    parse = utils.parse_wheel_filename if archive.suffix == ".whl" else utils.parse_sdist_filename
    try:
        name, version, *_ = parse(archive.name)
    except (utils.InvalidWheelFilename, utils.InvalidSdistFilename) as error:
        raise UserError(f"{archive} has not the name of an sdist or a wheel ({error}); rename it.") from None
    return Release(archive, name, version)


def in_order(archives: Sequence[Path], dates: dict[Version, datetime]) -> list[Release]:
    """Return the releases by version, with dates that increase.

    Raises:
        UserError: they are of several projects, two have the same version, or their dates do not increase.
    """
    releases = sorted(map(named, archives), key=lambda release: release.version)
    if len(names := sorted({release.name for release in releases})) > 1:
        raise UserError(f"the archives are of {' and '.join(names)}; give those of one project.")
    if unknown := [version for version in dates if version not in {release.version for release in releases}]:
        raise UserError(f"--date names {unknown[0]}, and no archive has this version; check the version.")
    dated: list[Release] = []
    for release in releases:
        date = dates.get(release.version)
        if date is None:
            with open_archive(release.archive) as archive:
                date = archive.newest
        previous = dated[-1] if dated else None
        if previous and previous.version == release.version:
            raise UserError(f"{previous.archive} and {release.archive} have the same version; give one of them.")
        if date is None or (previous and previous.date and date <= previous.date):
            after = f" and not after {previous.version} of {previous.date:%Y-%m-%d}" if previous else ""
            stated = f"of {date:%Y-%m-%d}" if date else "without a date"
            raise UserError(
                f"{release.archive} is {stated}{after}; say when it was released with --date "
                f"{release.version}=YYYY-MM-DD."
            )
        dated.append(dataclasses.replace(release, date=date))
    return dated


def write_commit(release: Release, stream: IO[bytes]) -> int:
    """Write a release as a commit for `git fast-import`, and return the number of its files."""
    assert release.date is not None
    message = f"{release.name} {release.version}".encode()
    stamp = f"committer {WHO} {int(release.date.timestamp())} +0000".encode()
    stream.write(b"commit refs/heads/main\n%s\ndata %d\n%s\ndeleteall\n" % (stamp, len(message), message))
    count = 0
    with open_archive(release.archive) as archive:
        members = [member for member in archive.members() if not member.rejection and member.key.size <= MAX_BYTES]
        for member, content in zip(members, archive.read(members, MAX_BYTES), strict=True):
            if isinstance(content, bytes) and ".git" not in member.path.lower().split("/"):
                stream.write(b"M 100644 inline %s\ndata %d\n%s\n" % (quoted(member.path), len(content), content))
                count += 1
    return count


def quoted(path: str) -> bytes:
    """Return a path as `git fast-import` reads it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'.encode()


def build(releases: Sequence[Release], folder: Path) -> None:
    """Make the repository in an empty folder, and print a line for each release."""
    git = Git(folder.resolve(), "the new repository")
    git.text("init", "-q", "--bare", "--template=", "--initial-branch=main", "--object-format=sha1")
    with tempfile.TemporaryFile() as stream:
        for release in releases:
            count = write_commit(release, stream)
            console.show(f"{release.version} of {release.date:%Y-%m-%d}: {count} files")
        stream.seek(0)
        git.text("fast-import", "--quiet", stdin=stream)


def version_and_date(text: str) -> tuple[Version, datetime]:
    """Argparse type: `VERSION=DATE`."""
    version, _, date = text.partition("=")
    found = moment(date)
    with contextlib.suppress(ValueError):
        if found:
            return Version(version), found
    raise argparse.ArgumentTypeError(f"{text!r} is not VERSION=DATE, such as 1.2=2025-01-31")


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.usage = "%(prog)s ARCHIVE [ARCHIVE ...] --output FOLDER [flags]"
    parser.add_argument("archives", nargs="+", type=Path, metavar="ARCHIVE", help="sdists or wheels of one project")
    parser.add_argument("--output", required=True, type=Path, help="bare git repository to write")
    parser.add_argument(
        "--date",
        nargs="+",
        type=version_and_date,
        default=[],
        metavar="VERSION=DATE",
        help="when a version was released",
    )
    args = parser.parse_args()
    manifest = Manifest({"archives": list(map(str, args.archives)), "output": args.output})
    outputs.refuse_existing(args.output, overwrite=False)
    releases = in_order(args.archives, dict(args.date))
    with outputs.new_directory(args.output) as folder:
        build(releases, folder)
        for release in releases:
            manifest.add_input(release.archive)
        manifest.write(folder)
    console.show(f"wrote {args.output}: {len(releases)} commits")


if __name__ == "__main__":
    cli.run(main)
