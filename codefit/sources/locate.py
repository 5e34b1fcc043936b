"""Find and open a source: git, an archive or a folder, each a list of members that can be read in one stream.

`locate` says what kind of source a text names, without reading it; `open_source` opens it. Nothing in a source is ever
run or unpacked, and nothing is written into it.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from codefit.console import masked, shortened
from codefit.errors import UserError
from codefit.sources.git_directory import git_directory, has_work_tree, is_git_directory
from codefit.sources.source import Place, Source

BUNDLE_HEADERS = (b"# v2 git bundle", b"# v3 git bundle")

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".zip", ".whl")

URL_SCHEMES = ("https", "http", "ssh", "git", "file")


def locate(text: str) -> Place:
    """Return the place that a text names, with its kind.

    Raises:
        UserError: nothing is there, or the URL could run a command or contains a password.
    """
    if path := _existing(text):
        return _locate_path(path)
    if masked(text) != text:
        raise UserError("the URL of a repository contains a user or token; remove it and use git's credential helper.")
    if text.startswith("-") or _is_unsafe(text):
        raise UserError(f"{text} is refused because git could take it for a command; give a plain URL or path.")
    if "://" in text or re.match(r"[\w.-]+@[\w.-]+:", text):
        return Place("url", text, _name_of_url(text))
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", text) and not text.endswith((*ARCHIVE_SUFFIXES, ".bundle")):
        return Place("url", f"https://github.com/{text}", text.removesuffix(".git"))
    raise UserError(
        f"{shortened(text, 200)} does not exist; "
        "give a git URL, owner/name on GitHub, a repository, bundle, archive or folder."
    )


def _existing(text: str) -> Path | None:
    """Return the path that a text names; None if nothing is there, or if it is not a path or names an unknown user."""
    try:
        path = Path(text).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _is_unsafe(text: str) -> bool:
    """Return whether git would pass a text to a helper program, as with `ext::sh -c ...`."""
    if "::" not in text:
        return False
    import git  # slow to import, and rarely needed

    try:
        git.Git.check_unsafe_protocols(text)
    except git.UnsafeProtocolError:
        return True
    return False


def _name_of_url(url: str) -> str:
    """Return owner/name. A URL is `scheme://host/path`, or `user@host:path` for ssh."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _last_two(url.partition(":")[2])
    _, _, path = rest.partition("/")
    if scheme not in URL_SCHEMES:
        raise UserError(f"{scheme}:// is not an allowed protocol; use one of {', '.join(URL_SCHEMES)}.")
    return _last_two(path).rpartition("/")[2] if scheme == "file" else _last_two(path)


def _last_two(path: str) -> str:
    return "/".join(path.strip("/").removesuffix(".git").split("/")[-2:])


def _locate_path(path: Path) -> Place:
    resolved = path.resolve()
    name = resolved.name
    if path.is_dir():
        has_git = is_git_directory(path) or (path / ".git").exists() or (path / ".git").is_symlink()
        kind = "git" if has_git else "directory"
        return Place(kind, str(resolved), name.removesuffix(".git") or "root")
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(BUNDLE_HEADERS[0]))
        if head in BUNDLE_HEADERS:
            return Place("bundle", str(resolved), name.removesuffix(".bundle"))
        for suffix in ARCHIVE_SUFFIXES:
            if name.lower().endswith(suffix):
                return Place("archive", str(resolved), name[: -len(suffix)])
    raise UserError(
        f"{path} is neither a git bundle nor a {', '.join(ARCHIVE_SUFFIXES)} archive; give one, or a folder."
    )


@contextlib.contextmanager
def open_source(
    place: Place, revision: str | None = None, uncommitted: bool = False, since: str = ""
) -> Iterator[Source]:
    """Open a source for reading; its temporary files are removed when the block ends.

    Args:
        uncommitted: whether to read the work tree of a local repository instead of a commit.
        since: a date; git is read as it was then, with what later commits changed. "" for the revision itself.

    Raises:
        UserError: it cannot be read, or has no such revision or no work tree.
    """
    if uncommitted and place.kind == "git":
        from codefit.sources.git import Git
        from codefit.sources.work_tree import WorkTree

        if not has_work_tree(Path(place.where)):
            raise UserError(f"{place.where} has no work tree, so --uncommitted cannot be used; omit it.")
        yield WorkTree(Path(place.where), Git(git_directory(Path(place.where)), place.where))
        return
    if place.kind in {"url", "git", "bundle"}:
        from codefit.sources.git import open_git
        from codefit.sources.history import Past

        with open_git(place.kind, place.where, revision, whole=bool(since)) as repository:
            yield Past(repository, since) if since else repository
        return
    if since:
        raise UserError(
            f"{place.where} has no git history, so --history cannot be used; give a git repository, or make one of "
            "releases with python -m runs.history_of_releases."
        )
    if revision:
        raise UserError(f"{place.where} has no git history, so --revision {revision} cannot be used; omit it.")
    if place.kind == "archive":
        from codefit.sources.archive import open_archive

        with open_archive(Path(place.where)) as archive:
            yield archive
    else:
        from codefit.sources.directory import Directory

        yield Directory(Path(place.where))
