"""Where a forecast divides the history of a repository: the last changes are its test, all before them its past."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import IO

from codefit.code.languages import languages_in, main_languages
from codefit.console import counted
from codefit.errors import UserError
from codefit.sources.documents import Selection
from codefit.sources.git import Git, GitRepository
from codefit.sources.history import Past
from codefit.sources.locate import locate, open_source

LATER_CHANGES = 400  # changed files that are asked about: enough for a verdict, and curated in a minute
FEWEST_CHANGES = 60  # of the whole history; half of them are asked about
MOST_FILES = 5_000  # of more, stage 2 alone would take longer than a forecast should
RECENT = 4_000  # newest changed files, which say where a large repository is worked on


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """How a history is divided.

    Attributes:
        languages: of the files that are read.
        since: the date from which on changes are asked about, in ISO 8601.
        earlier: changes of files before it.
        later: changes of files since then.
        files: of these languages, in the newest commit.
        commit: that commit.
    """

    languages: tuple[str, ...]
    since: str
    earlier: int
    later: int
    files: int
    commit: str


@dataclasses.dataclass(frozen=True, slots=True)
class Dated:
    """A commit: its date, and the files of the wanted languages that it adds or changes."""

    date: str
    paths: tuple[str, ...]


def start_of(source: str, languages: Sequence[str] = (), subfolder: str = "") -> Start:
    """Return how the history of a local repository is divided.

    Args:
        source: folder, git directory or bundle.
        languages: of the files; all that have a tenth of the code files if there are none.
        subfolder: only files in it count; "" for all.

    Raises:
        UserError: the source has no history on this machine, or is too small or too large for a forecast.
    """
    place = locate(source)
    if place.kind == "url":
        raise UserError(f"{source} is not on this machine; clone it first, with all its history.")
    if place.kind not in {"git", "bundle"}:
        raise UserError(
            f"{source} has no git history, which a forecast learns from; give a git repository, or make one of "
            "releases with python -m runs.history_of_releases."
        )
    with open_source(place) as repository:
        assert isinstance(repository, GitRepository)
        paths = [
            member.path for member in repository.members() if Selection((), subfolder=subfolder).covers(member.path)
        ]
        if subfolder and not paths:
            raise UserError(f"{source} has no folder {subfolder}; check --subfolder.")
        wanted = tuple(languages) or tuple(main_languages(languages_in(paths)))
        selection = Selection(wanted, subfolder=subfolder)
        files = [path for path in paths if selection.wants(path)]
        commits = list(changes(repository.git, repository.commit, selection))
        if len(files) > MOST_FILES:
            raise UserError(_too_large(source, files, [path for each in commits for path in each.paths], subfolder))
        since, later = divided(commits, source)
        _refuse_disorder(repository, since)
        earlier = sum(len(each.paths) for each in commits) - later
        return Start(wanted, since, earlier, later, len(files), repository.commit)


def divided(commits: Sequence[Dated], source: str) -> tuple[str, int]:
    """Return the date of the first commit that is asked about, and how many changed files are.

    Args:
        commits: those that change files, the newest first.
        source: the repository, for errors.

    Raises:
        UserError: there are too few changes.
    """
    total = sum(len(commit.paths) for commit in commits)
    if len(commits) < 2 or total < FEWEST_CHANGES:
        raise UserError(
            f"the history of {source} is too short for a forecast: "
            f"{counted(len(commits), 'commit')} (merges aside) with {counted(total, 'changed code file')}, and it "
            f"needs two and {FEWEST_CHANGES}; a model could not be compared on so few changes, so wait, or give the "
            "whole history if this is a shallow clone."
        )
    later = 0
    for commit in commits[:-1]:
        later += len(commit.paths)
        if later >= min(LATER_CHANGES, total // 2):
            break
    return commit.date, later


def _refuse_disorder(repository: GitRepository, since: str) -> None:
    """Raise UserError if stage 1 could not divide the history at a date, as in an import that gave all commits one."""
    try:
        Past(repository, since)
    except UserError:
        if repository.may_lack:
            raise
        raise UserError(
            f"the history of {repository.git.where} cannot be divided into past and later changes: many commits have "
            f"the same date, or an earlier one than those before them, around {since[:10]}; give a repository with the "
            "original dates."
        ) from None


def changes(git: Git, tip: str, selection: Selection) -> Iterator[Dated]:
    """Yield the commits that add or change wanted files, the newest first, without merges."""
    words = ("log", "--no-merges", "--no-renames", "--diff-filter=AM", "--name-only", "--format=%x00%cI", tip)
    with git.stream(*words) as stream:
        for date, paths in _commits(stream):
            if wanted := tuple(filter(selection.wants, paths)):
                yield Dated(date, wanted)


def _commits(stream: IO[bytes]) -> Iterator[tuple[str, list[str]]]:
    """Yield date and paths of each commit in the output of `git log`."""
    date, paths = "", list[str]()
    for line in stream:
        text = line.decode("utf-8", "backslashreplace").strip().strip('"')
        if text.startswith("\0"):
            if paths:
                yield date, paths
            date, paths = text[1:], []
        elif text:
            paths.append(text)
    if paths:
        yield date, paths


def _too_large(source: str, files: Sequence[str], changed: Sequence[str], subfolder: str) -> str:
    """Return the error for a repository with too many files, with a folder that could be read instead.

    Args:
        source: the repository.
        files: the paths of its code files.
        changed: the path of each change of a file, the newest first.
        subfolder: that was asked for.
    """
    counts = Counter(folder for path in files for folder in _folders(path))
    recent = Counter(folder for path in changed[:RECENT] for folder in _folders(path))
    fitting = [name for name, count in counts.items() if count <= MOST_FILES and name != subfolder]
    if not fitting:
        return f"{source} has {len(files):,} code files in one folder, and a forecast reads at most {MOST_FILES:,}."
    name = max(fitting, key=lambda folder: (recent[folder], counts[folder], folder))
    return (
        f"{source} has {len(files):,} code files, and a forecast reads at most {MOST_FILES:,}; choose a part of it, "
        f"such as --subfolder {name} with {counted(counts[name], 'file')}, the folder of this size that changed most."
    )


def _folders(path: str) -> list[str]:
    """Return every folder that a file is in, the outermost first."""
    parts = path.split("/")[:-1]
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
