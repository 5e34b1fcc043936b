"""Files and folders with known texts."""

from pathlib import Path


def fill(path: Path, content: str | dict[str, str]) -> Path:
    """Make a file of a text, and a folder of a dict."""
    if isinstance(content, str):
        path.write_text(content)
    else:
        for name, text in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
    return path


def files_of(folder: Path) -> dict[str, str]:
    """Return the texts of all files in a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
