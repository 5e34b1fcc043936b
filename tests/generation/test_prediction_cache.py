"""The prediction cache: its key covers everything that could change a result; damaged entries are ignored."""

import ast

import pytest

from codefit.generation import prediction_cache
from codefit.generation.prediction_cache import PredictionCache
from codefit.manifest import ROOT

REQUEST = {"kind": "completions", "rows": [[1, 2], [3]]}
RESULT = [[[4, 5], "stop"], [[], "length"]]


def entry(place):
    (path,) = place.rglob("*.json")
    return path


def test_a_stored_result_is_found(tmp_path):
    PredictionCache({"model": "a"}, tmp_path).put(REQUEST, RESULT)
    cache = PredictionCache({"model": "a"}, tmp_path)
    assert cache.get(REQUEST) == RESULT
    assert cache.get({**REQUEST, "rows": [[1, 2], [4]]}) is None
    assert (cache.hits, cache.requests) == (1, 2)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]


def test_numbers_keep_their_last_digit(tmp_path):
    nats = [0.1 + 0.2, 1e-300, 123456.789012345678]
    cache = PredictionCache({}, tmp_path)
    cache.put(REQUEST, nats)
    assert cache.get(REQUEST) == nats


@pytest.mark.parametrize("changed", ["facts", "versions", "code"])
def test_everything_that_could_change_a_result_is_part_of_its_key(tmp_path, monkeypatch, changed):
    PredictionCache({"model": "a"}, tmp_path).put(REQUEST, RESULT)
    if changed == "versions":
        monkeypatch.setattr(prediction_cache, "versions", lambda: {"torch": "0.1"})
    if changed == "code":
        monkeypatch.setattr(prediction_cache, "CODE", ("generation/batched.py",))
    assert PredictionCache({"model": "b" if changed == "facts" else "a"}, tmp_path).get(REQUEST) is None


def test_the_code_that_makes_a_result_is_part_of_its_key():
    # these run before or after generation, only name a stop condition, or serve other parts of an imported module
    around = {
        "console",
        "errors",
        "encoding",
        "records",
        "generation.prediction_cache",
        "tasks.task",
        "code.languages",
        "code.lexer",
    }
    imported = set()
    for name in prediction_cache.CODE:
        tree = ast.parse((ROOT / "codefit" / name).read_text(encoding="utf-8"))
        for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
            package, _, module = (node.module or "").partition(".")
            if package == "codefit":
                prefix = f"{module}." if module else ""
                names = {prefix + alias.name for alias in node.names}
                modules = {name for name in names if (ROOT / "codefit" / f"{name.replace('.', '/')}.py").is_file()}
                imported |= modules or {module}
    assert "generation.nucleus" in imported
    assert {f"{name.replace('.', '/')}.py" for name in imported - around} <= set(prediction_cache.CODE)


@pytest.mark.parametrize("harm", [b"", b"{", b"[]", b"\xff\xfe", b'{"sha256": "0", "answer": [1]}', "cut", "bit"])
def test_a_damaged_entry_is_replaced_with_a_note(tmp_path, capsys, harm):
    cache = PredictionCache({}, tmp_path)
    cache.put(REQUEST, RESULT)
    path = entry(tmp_path)
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:-9], "bit": whole.replace(b"5", b"6")}.get(harm, harm))
    assert cache.get(REQUEST) is None
    assert f"the stored predictions {path.name} are damaged; they are generated again." in capsys.readouterr().err
    cache.put(REQUEST, RESULT)
    assert cache.get(REQUEST) == RESULT


def test_the_run_continues_where_nothing_can_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    cache = PredictionCache({}, tmp_path / "file")
    cache.put(REQUEST, RESULT)
    cache.put(REQUEST, RESULT)
    assert capsys.readouterr().err.count("note: predictions are not cached") == 1


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CODEFIT_CACHE": "/a"}, "/a/predictions"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/codefit/predictions"),
        ({"HOME": "/c"}, "/c/.cache/codefit/predictions"),
        ({"CODEFIT_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a/predictions"),
    ],
)
def test_the_cache_is_in_the_users_cache_folder(monkeypatch, variables, expected):
    for name in ("CODEFIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(prediction_cache.folder()) == expected
