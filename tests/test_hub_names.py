"""Names that are not on this machine: answered at once, with the nearest path that exists."""

import ntpath
import socket
from pathlib import Path, PureWindowsPath

import huggingface_hub.constants
import pytest

from codefit import hub_names, outputs
from codefit.errors import UserError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("outputs/kotlin/adapter", "outputs/kotlin/pairs", "data/base"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "data/small.gguf").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(hub_names.urllib.request, "getproxies", dict)
    hub_names.connected.cache_clear()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("outputs/kotlin/adaptr", "outputs/kotlin/adapter"),
        ("outputs/kotln/adapter", "outputs/kotlin/adapter"),
        ("./outputs/kotln/pairz", "outputs/kotlin/pairs"),
        ("data/bass", "data/base"),
        ("data/smal.gguf", "data/small.gguf"),
        ("outputs/kotlin/zzzz/more", "outputs/kotlin"),
        ("outputs/../dta/base", "outputs/../data/base"),
        ("zzzz/qqqq", None),
        ("", None),
    ],
)
def test_the_nearest_path_that_exists(here: Path, name: str, meant: str | None) -> None:
    assert hub_names.nearest(name) == (None if meant is None else Path(meant))


def test_the_nearest_path_of_an_absolute_one(here: Path) -> None:
    assert hub_names.nearest(f"{here}/outputs/kotlin/adopter") == here / "outputs/kotlin/adapter"


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("outputs/kotlin/adaptr", "; did you mean outputs/kotlin/adapter?"),
        ("outputs/kotlin/zzzz", "; the nearest folder that exists is outputs/kotlin."),
        ("./zzzz", "; check the path."),
        ("/zzzz/qqqq", "; check the path."),
        ("~/zzzz-qqqq", "."),
        ("C:\\models\\mine", "; check the path."),
        ("models\\mine", "; check the path."),
        ("data/smal.gguf", "; did you mean data/small.gguf?"),
    ],
)
def test_a_name_that_can_only_be_a_path_is_refused_without_the_hub(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    monkeypatch.setattr(hub_names, "connected", lambda: pytest.fail("the Hub was tried"))
    with pytest.raises(UserError, match="is neither a local folder nor readable on the Hub") as refused:
        hub_names.reach_for(name)
    assert str(refused.value).endswith(end)


@pytest.mark.parametrize("parts", [("models", "mine"), ("..", "mine"), ("owner", "name", "adapter")])
def test_paths_of_windows_are_never_looked_up_on_the_hub(
    monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(hub_names, "connected", lambda: pytest.fail("the Hub was tried"))
    for name in (PureWindowsPath(*parts), PureWindowsPath("C:/", *parts), ntpath.join("\\\\server\\share", *parts)):
        with pytest.raises(UserError, match="is neither a local folder"):
            hub_names.reach_for(str(name))


def test_a_path_that_exists_passes(here: Path) -> None:
    hub_names.reach_for("outputs/kotlin/adapter")
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize("name", ["owner/name", "name", "data/bass"])
def test_without_a_connection_only_the_cache_is_read(here: Path, name: str) -> None:
    hub_names.reach_for(name)
    assert huggingface_hub.constants.HF_HUB_OFFLINE is True


def test_a_proxy_is_left_to_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_names.urllib.request, "getproxies", lambda: {"https": "http://proxy:8080"})
    hub_names.reach_for("owner/name")
    assert huggingface_hub.constants.HF_HUB_OFFLINE is False


def test_an_output_whose_run_has_not_finished_is_named(here: Path) -> None:
    with outputs.alone(here / "outputs/kotlin/fitted"):
        outputs.make_folder(outputs.partial(here / "outputs/kotlin/fitted"))
    with pytest.raises(UserError) as refused:
        hub_names.reach_for("outputs/kotlin/fitted")
    assert str(refused.value) == (
        "outputs/kotlin/fitted is not finished yet: outputs/kotlin/.fitted.codefit holds an unfinished run, such as a "
        "training; run the command that writes it again, and it continues."
    )
