"""The architecture holds: imports point one way, torch stays below, and nothing is too long or too dangerous.

The source is read, not imported: what is checked here costs no import and cannot be hidden by one.
"""

import ast
import graphlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from codefit.manifest import ROOT

# A module may import only modules of its own room and of the rooms that stand before it.
ROOMS = (
    *("errors", "dates", "git_command", "json_files", "private_apis", "distributed", "console", "processors"),
    *("disk_errors", "outputs", "temporary", "hub_names"),
    *("manifest", "cli", "gguf_base", "limited_process", "model_files", "tokenization", "chat_template"),
    *("records", "engine", "plotting", "page", "code", "sources", "fim", "tasks", "curation", "encoding", "scoring"),
    *("modeling", "generation", "playground", "training", "evaluation", "publishing", "forecast"),
)
# Rooms in which torch may be imported, and the parts of them that must do without it.
TORCH_ROOMS = {"limited_process", "modeling", "generation", "playground", "training", "evaluation", "forecast"}
WITHOUT_TORCH_IN_THEM = {
    "modeling": {"pre_tokenizers"},
    "training": {"flag_checks", "run_folder", "scratch_flags", "train_flags", "settings", "plots"},
    "playground": {"server"},
    "generation": {"stopping", "prediction_cache", "decoding"},
    "forecast": {"start", "stages", "learning_curve", "expectation", "signs"},
    "evaluation": {"benchmarks", "report", "task_metrics", "comparison", "result_schema", "settings"},
}
TORCH = {"torch", "transformers", "peft", "accelerate", "bitsandbytes"}
HEAVY = TORCH | {"datasets", "matplotlib", "pyarrow", "huggingface_hub", "sacrebleu"}
WITHOUT_TORCH = ("parse_data", "preprocess_data", "bleu")

MOST_LINES = 500  # of a file
MOST_LINES_OF_A_FUNCTION = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SCRIPTS = {path.stem: path for path in sorted(ROOT.glob("*.py"))}
PROGRAMS = [*SCRIPTS.values(), *(path for room in ("runs", "speed", "torture") for path in (ROOT / room).glob("*.py"))]
PARTS = {module_name(path): path for path in sorted((ROOT / "codefit").rglob("*.py"))}
MODULES = {**SCRIPTS, **PARTS}
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Yield each imported module of a source, and whether it is imported only when a function runs."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, lazy) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                module = "." * child.level + (child.module or "")
                names = [f"{module}.{alias.name}" for alias in child.names]
                yield from ((name if name in PARTS else module, lazy) for name in names)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, lazy or inside)

    return walk(ast.parse(source), False)


GRAPH = {name: list(imports(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()}


def reached(name: str, with_lazy: bool) -> set[str]:
    """Return every module that importing a module brings in; with_lazy, what its functions may bring in too."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for target, lazy in GRAPH.get(waiting.pop(), []):
            names = {target.rsplit(".", depth)[0] for depth in range(target.count(".") + 1)}
            if with_lazy or not lazy:
                waiting.extend(names - found)
                found |= names
    return found


def room(name: str) -> str:
    return name.split(".")[1]


# ---------------------------------------------------------------------------------------------- the reader of imports


def test_imports_are_found_anywhere_in_a_source() -> None:
    source = """
import a, b.c as d
from codefit import cli, MANIFEST
from codefit.sources import git, Source
from . import near
if a:
    import e
class C:
    import f
    def method(self):
        from g import h
async def later():
    with a:
        import i
"""
    assert list(imports(source)) == [
        *[("a", False), ("b.c", False), ("codefit.cli", False), ("codefit", False)],
        *[("codefit.sources.git", False), ("codefit.sources", False), (".", False), ("e", False), ("f", False)],
        *[("g", True), ("i", True)],
    ]


def test_what_an_import_brings_in_is_followed() -> None:
    assert {"torch", "codefit.encoding", "codefit.errors", "codefit", "transformers"} <= reached(
        "codefit.training.trainer", False
    )
    assert "torch" in reached("train", True)
    assert "torch" not in reached("train", False)


# ---------------------------------------------------------------------------------------------- directions


def test_every_room_has_a_place_in_the_order() -> None:
    assert len(ROOMS) == len(set(ROOMS))
    assert set(ROOMS) == {room(name) for name in PARTS if name != "codefit"}


@pytest.mark.parametrize("name", [name for name in PARTS if name != "codefit"])
def test_imports_point_downwards(name: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(room(name)) + 1]}
    targets = [target for target, _ in GRAPH[name] if target.startswith("codefit.")]
    assert {room(target) for target in targets} <= allowed


def test_inside_a_room_no_imports_go_in_a_circle() -> None:
    at_once = {
        name: {target for target, lazy in GRAPH[name] if target in PARTS and target != name and not lazy}
        for name in PARTS
    }
    assert len(list(graphlib.TopologicalSorter(at_once).static_order())) == len(PARTS)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_a_script(name: str) -> None:
    targets = {target.split(".")[0] for target, _ in GRAPH[name]}
    assert not targets & {*SCRIPTS, "tests", "runs", "speed"}
    assert not any(target.startswith(".") for target in targets), "imports name the whole way"


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_imports_another(path: Path) -> None:
    """What several tests share is in tests/support, or a fixture of a conftest.py."""
    targets = {target for target, _ in imports(path.read_text(encoding="utf-8"))}
    shared = {target for target in targets if target.split(".")[0] == "tests" or target.startswith(".")}
    assert {target for target in shared if not target.startswith("tests.support")} == set()


def test_the_folders_of_the_tests_are_those_of_the_package() -> None:
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and any(path.rglob("test_*.py"))}
    assert folders <= {room(name) for name in PARTS if name != "codefit"} | {"scripts"}


def test_all_scripts_are_known() -> None:
    assert set(SCRIPTS) == {
        "parse_data",
        "preprocess_data",
        "train",
        "merge_lora",
        "benchmarking",
        "bleu",
        "complete",
        "forecast",
    }


TYPED_ROOMS = ("scoring", "generation", "evaluation")  # they take settings with types, not the flags of a script


@pytest.mark.parametrize("name", [name for name in PARTS if name != "codefit" and room(name) in TYPED_ROOMS])
def test_flags_end_at_the_scripts(name: str) -> None:
    assert "argparse" not in {target for target, _ in GRAPH[name]}


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("codefit", "codefit.cli")])
def test_no_part_takes_the_flags_of_a_script(name: str) -> None:
    assert "Namespace" not in PARTS[name].read_text(encoding="utf-8")


def private_uses(source: str) -> list[str]:
    """Return the underscore names of a source that belong to something else: attributes, arguments and modules."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            found.append(node.attr)
        elif isinstance(node, ast.keyword):
            found.append(node.arg or "")
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [getattr(node, "module", None) or "", *(alias.name for alias in node.names)]
            found += [part for name in names for part in name.split(".")]
    return [name for name in found if re.match(r"_[a-z]", name) and name != "_exit"]  # os._exit is documented


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("model._parameters['a'] = 1", ["_parameters"]),
        ("f(x, _raise=False)", ["_raise"]),
        ("from a._b import c, _d\nimport e._f", ["_b", "_d", "_f"]),
        ("x.y._z()", ["_z"]),
        ("self._x(cls._y, super()._z(), x.__name__)\nos._exit(1)\n_f(a_b=_c)\nfrom __future__ import a", []),
    ],
)
def test_private_names_of_others_are_seen(source: str, found: list[str]) -> None:
    assert private_uses(source) == found


@pytest.mark.parametrize("path", [*PROGRAMS, *PARTS.values()], ids=lambda path: str(path.relative_to(ROOT)))
def test_private_names_of_others_are_used_in_one_module(path: Path) -> None:
    """What a library or another module keeps to itself is used in private_apis.py alone, where each use has a test."""
    assert path.stem == "private_apis" or private_uses(path.read_text(encoding="utf-8")) == []


def own_private_names(source: str) -> list[str]:
    """Return the private names of codefit's modules that a test calls or replaces."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name.split(".")[-1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and (getattr(node, "module", None) or node.names[0].name).split(".")[0] in {"codefit", *SCRIPTS}
        for alias in node.names
    }
    used = [
        (node.value.id, node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[0], ast.Name):
            used += [(node.args[0].id, it.value) for it in node.args[1:2] if isinstance(it, ast.Constant)]
    return [str(name) for module, name in used if module in modules and re.match(r"_[a-z]", str(name))]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from codefit.a import b\nb._c(b.d)", ["_c"]),
        ("import train\npatch.setattr(train, '_c', 1)\nother._d()", ["_c"]),
        ("from codefit import b as e\nself._x = e.__name__, torch._y", []),
    ],
)
def test_private_names_in_tests_are_seen(source: str, found: list[str]) -> None:
    assert own_private_names(source) == found


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_tests_are_of_behaviour(path: Path) -> None:
    """What a module keeps to itself can change without a test that fails."""
    assert own_private_names(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_flags_of_a_script_become_one_typed_request(path: Path) -> None:
    """At most one function takes the namespace of argparse: what turns it into a dataclass."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    arguments = [argument for node in ast.walk(tree) if isinstance(node, ast.arguments) for argument in node.args]
    assert sum("Namespace" in ast.unparse(it.annotation) for it in arguments if it.annotation) <= 1
    assert not [it.lineno for it in arguments if it.arg == "args" and not it.annotation]


# ---------------------------------------------------------------------------------------------- torch


def may_use_torch(name: str) -> bool:
    part = name.split(".")[2] if name.count(".") > 1 else ""
    return room(name) in TORCH_ROOMS and part not in WITHOUT_TORCH_IN_THEM.get(room(name), ())


@pytest.mark.parametrize("name", [name for name in PARTS if name != "codefit" and not may_use_torch(name)])
def test_torch_stays_in_its_rooms(name: str) -> None:
    assert not {target.split(".")[0] for target, _ in GRAPH[name]} & TORCH
    assert not reached(name, with_lazy=False) & TORCH


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_some_scripts_never_import_torch(name: str) -> None:
    assert not reached(name, with_lazy=True) & TORCH


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_what_is_heavy_only_when_it_is_needed(name: str) -> None:
    assert not reached(name, with_lazy=False) & HEAVY


# ---------------------------------------------------------------------------------------------- size and names


@pytest.mark.parametrize("path", [*MODULES.values(), *TESTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_not_too_long_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert ast.get_docstring(ast.parse(text)), "a file begins with a sentence"
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "process_data"}


def functions(source: str) -> dict[str, int]:
    """Return the functions of a source by name, and the lines of each."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in found}


def unshaped(source: str) -> list[str]:
    """Return the functions that take or return arrays or tensors and do not say of what shape.

    A function inside another one need not say it; __init__ may leave it to the docstring of its class.
    """
    found = []

    def look(owner: ast.AST, inherited: str) -> None:
        for node in ast.iter_child_nodes(owner):
            if isinstance(node, ast.ClassDef):
                look(node, ast.get_docstring(node) or "")
            elif isinstance(node, ast.FunctionDef):
                said = (ast.get_docstring(node) or "") + inherited * (node.name == "__init__")
                annotations = [it.annotation for it in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
                if ARRAY.search(" ".join(ast.unparse(it) for it in annotations if it)) and "shape" not in said.lower():
                    found.append(node.name)

    look(ast.parse(source), "")
    return found


ALIAS = re.compile(r"^(\w+) = NDArray\[", re.M)
ALIASES = {name for path in PARTS.values() for name in ALIAS.findall(path.read_text(encoding="utf-8"))}
ARRAY = re.compile(rf"\b(ndarray|NDArray|Tensor|{'|'.join(sorted(ALIASES))})\b")


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f(x: torch.Tensor) -> None:\n    'Do it.'", ["f"]),
        ("def f(n: int) -> 'NDArray[np.float64] | None': ...", ["f"]),
        ("class C:\n    def f(self, *, x: np.ndarray) -> int: ...", ["f"]),
        ("def f(x: Tensor) -> None:\n    'Take x of shape (rows, 2).'", []),
        ("class C:\n    'x has shape (n,).'\n    def __init__(self, x: Tensor) -> None: ...", []),
        ("def f(x: int) -> str:\n    def g(x: Tensor) -> None: ...", []),
    ],
)
def test_arrays_without_a_shape_are_seen(source: str, found: list[str]) -> None:
    assert unshaped(source) == found


@pytest.mark.parametrize("path", [*PROGRAMS, *PARTS.values()], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_array_has_a_shape_in_words(path: Path) -> None:
    assert unshaped(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_not_too_long(name: str) -> None:
    lengths = functions(MODULES[name].read_text(encoding="utf-8"))
    assert {function: lines for function, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


# ---------------------------------------------------------------------------------------------- dangers


def dangers(source: str) -> list[str]:
    """Return what runs code that came as data: eval, exec, pickles, shells, code from a model's repository."""
    found = [word for word in ("trust_remote_code=True", "shell=True") if word in source.replace(" ", "")]
    pickles = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    found += [name for name, _ in imports(source) if name.split(".")[0] in pickles]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"}:
                found.append(called)
            if called.endswith("load") and any(word.arg == "allow_pickle" for word in node.keywords):
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("load(x, trust_remote_code = True)", ["trust_remote_code=True"]),
        ("run(x, shell=True)", ["shell=True"]),
        ("def f():\n    import pickle", ["pickle"]),
        ("eval(x)", ["eval"]),
        ("os.system(exec(x))", ["os.system", "exec"]),
        ("np.load(x, allow_pickle=True)", ["allow_pickle"]),
        ("torch.load(x)", ["torch.load"]),
        ("model.eval()\nre.compile(x)\n'pickle is not used'", []),
    ],
)
def test_dangers_are_seen(source: str, found: list[str]) -> None:
    assert dangers(source) == found


# The one that may: it has given up network, files and processes before, and only --execute starts it.
SANDBOX = "codefit.evaluation.sandbox"


@pytest.mark.parametrize("name", MODULES)
def test_no_source_runs_what_came_as_data(name: str) -> None:
    allowed = ["compile", "exec"] if name == SANDBOX else []
    assert dangers(MODULES[name].read_text(encoding="utf-8")) == allowed


def test_the_sandbox_knows_nothing_of_codefit() -> None:
    assert not [target for target, _ in GRAPH[SANDBOX] if target.startswith("codefit")]


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"codefit.console", "codefit.cli"}))
def test_texts_are_shown_and_not_printed(name: str) -> None:
    """`console.show` escapes what a terminal would obey; names and messages of others are in most texts."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    assert not [call.lineno for call in calls if isinstance(call, ast.Name) and call.id == "print"]


# A path of one machine; what stands in a longer path (outputs/work/...) or under the fictional user `me` is none.
MACHINE_PATH = re.compile(r"(?<![\w.$}{)~\-])/(?:(?:root|work|tmp)/|home/(?!me\b))[\w.][\w./-]*")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("in /work/main or (/tmp/x)", ["/work/main", "/tmp/x"]),
        ('"/home/anna/base" and /root/.cache', ["/home/anna/base", "/root/.cache"]),
        ("outputs/work/a, $OUT/tmp/a, ~/tmp/a, https://example.org/home/page, /home/me/base, a /tmp folder", []),
        ("/workers/a, /home, /temporary/a, model/root/a", []),
    ],
)
def test_paths_of_one_machine_are_seen(text: str, found: list[str]) -> None:
    assert MACHINE_PATH.findall(text) == found


def test_no_file_names_a_path_of_one_machine() -> None:
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git repository: which files belong to codefit is not known")
    found: dict[str, list[str]] = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file() and path != Path(__file__).resolve() and b"\0" not in (content := path.read_bytes()):
            paths = MACHINE_PATH.findall(content.decode("utf-8", "replace"))
            in_tests = name.startswith("tests/")
            found[name] = [path for path in paths if not (in_tests and path.startswith("/tmp/"))]
    assert len(found) > 50
    assert {name: paths for name, paths in found.items() if paths} == {}
