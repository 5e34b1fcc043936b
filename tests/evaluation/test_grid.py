"""The grid of base and adapted model, with and without files: advice, tables, and a run of tiny models."""

import base64
import dataclasses
import json

import msgspec
import pytest

from codefit.errors import UserError
from codefit.evaluation import comparison, result_schema
from codefit.evaluation.report import html, plots, terminal
from codefit.evaluation.result_schema import CELLS, Cost, Count, Model, Retrieval, Role
from codefit.records import PLACES, write_jsonl
from tests.support import benchmark
from tests.support.benchmark import PAIRS, predictions, run, scores
from tests.support.report import HELD_OUT, MODELS, prediction, wrong

RETRIEVAL = Retrieval(
    tokens=100, prompts=50, found=Count(3, 12), costs={cell: Cost(0.125, 200.4, 10.25) for cell in CELLS}
)
ASKED = msgspec.structs.replace(HELD_OUT, retrieval=RETRIEVAL)
FOUR = {
    **MODELS,
    "base-context": Model(name="some/base", label="base + files", role=Role.CONTEXT),
    "adapted-context": Model(name="some/adapter", label="adapted + files", role=Role.CONTEXT),
}


def answers(right):
    """Return 60 predictions, of which a number is right."""
    return [prediction(n) if n * 7 % 60 < right else wrong(n) for n in range(60)]


def compared(right, places=(), models=FOUR):
    """Return the result for models with these numbers of right predictions, in the order of the cells."""
    by_model = dict(zip(CELLS, map(answers, right), strict=True))
    if places:
        by_model = {
            key: [dataclasses.replace(item, place=places[n % len(places)]) for n, item in enumerate(items)]
            for key, items in by_model.items()
        }
    scored = {"heldout": {key: comparison.score_items(by_model[key]) for key in models}}
    return comparison.scores(scored, models, {"heldout": ASKED}, {}, seed=0), scored


@pytest.mark.parametrize(
    ("right", "advice", "lead"),
    [
        ((10, 10, 40, 40), "tune", "Tune: fitting the model pays"),
        ((10, 40, 10, 40), "retrieve", "Retrieve: showing the model other files pays"),
        ((10, 25, 30, 58), "both", "Both: fitting the model and showing it other files pays"),
        ((10, 10, 10, 58), "both", "Both: "),
        ((10, 10, 10, 10), "neither", "Neither: no gain is shown"),
        ((40, 10, 10, 10), "neither", "Neither: "),
        ((10, 40, 42, 40), "tune", "Tune: "),
    ],
)
def test_the_advice_follows_the_verdicts(right, advice, lead):
    content, _ = compared(right)
    result = content.benchmarks["heldout"]
    assert result.grid.advice == advice
    text = terminal.table(result, content.models)
    assert lead in " ".join(text.split())
    assert "They hold 25.0 % of the 12 names" in " ".join(text.split())
    assert "adapted + files model" not in text  # the grid says it


def test_every_two_cells_are_compared_in_all_prompts_and_in_each_kind_of_place():
    content, scored = compared((10, 40, 40, 58), PLACES[:2])
    grid = content.benchmarks["heldout"].grid
    assert [(place.place, place.n, len(place.differences)) for place in grid.places] == [
        ("", 60, 6),
        (PLACES[0], 30, 6),
        (PLACES[1], 30, 6),
    ]
    whole = grid.places[0]
    assert whole.difference("base", "adapted").value == pytest.approx(
        whole.scores["adapted"].value - whole.scores["base"].value
    )
    page = html.page(content, scored, {})
    assert "Fit, retrieve, or both?" in page
    assert page.count("base + files → adapted + files") == 3
    for text in ("200", "10.2", "0.12"):
        assert f">{text}</td>" in page
    assert "| adapted + files |" in terminal.markdown(content)


def test_without_retrieval_there_is_no_grid():
    content, scored = compared((10, 10, 40, 40), models=MODELS)
    assert content.benchmarks["heldout"].grid is None
    assert "Fit, retrieve" not in html.page(content, scored, {})


def test_a_doubtful_adapted_model_leaves_no_conclusion():
    by_model = dict(zip(CELLS, map(answers, (10, 40, 10, 40)), strict=True))
    by_model["adapted"] = [dataclasses.replace(item, prediction="") for item in by_model["adapted"]]
    scored = {"heldout": {key: comparison.score_items(items) for key, items in by_model.items()}}
    grid = comparison.scores(scored, FOUR, {"heldout": ASKED}, {}, seed=0).benchmarks["heldout"].grid
    assert grid.advice == "no conclusion"
    assert grid.places[0].difference("base", "base-context").verdict == "better"
    assert grid.places[0].difference("base", "adapted").verdict == "no conclusion"


def test_scores_with_a_grid_are_read_back(tmp_path):
    content, _ = compared((10, 10, 40, 40), PLACES[:2])
    result_schema.write(content, tmp_path / result_schema.FILE)
    assert result_schema.read(tmp_path).benchmarks["heldout"].grid == content.benchmarks["heldout"].grid


# ------------------------------------------------------------------------------------------- tiny models


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    pairs = [dataclasses.replace(pair, repository="me/one", language="kotlin") for pair in PAIRS]
    for name in ("train", "test"):
        write_jsonl(folder / f"{name}.jsonl", pairs)
    rows = [
        {
            "repository": "me/one",
            "path": f"src/Other{n}.kt",
            "content": f"val names{n} = listOf(item)\n",
            "language": "kotlin",
        }
        for n in range(3)
    ]
    write_jsonl(folder / "documents.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def finished(made, data, tmp_path_factory):
    output = tmp_path_factory.mktemp("grid") / "benchmark"
    with pytest.MonkeyPatch.context() as patch:
        benchmark.compute_in_float32(patch)
        run(made, output, "--dataset", str(data), "--repository_context", "60")
    return output


def test_a_run_asks_four_models_and_keeps_the_prompts(finished):
    assert list(scores(finished)["models"]) == ["base", "adapted", "base-context", "adapted-context"]
    for cell in CELLS:
        assert [item.prompt for item in predictions(finished, cell)] == [pair.prompt for pair in PAIRS]
    assert predictions(finished, "base") != predictions(finished, "base-context")
    assert predictions(finished, "adapted") != predictions(finished, "adapted-context")
    grid = scores(finished)["benchmarks"]["heldout"]["grid"]
    costs = grid["retrieval"]["costs"]
    assert costs.keys() == set(CELLS)
    assert costs["base"]["prompt_tokens"] == costs["adapted"]["prompt_tokens"]
    assert 0 < costs["base-context"]["prompt_tokens"] - costs["base"]["prompt_tokens"] <= 60
    assert grid["advice"] == "no conclusion"  # of so few prompts


def test_a_rescoring_keeps_the_grid(finished):
    before = json.loads((finished / "scores.json").read_text())
    import benchmarking

    benchmarking.main(["--output_dir", str(finished), "--rescore"])
    assert json.loads((finished / "scores.json").read_text()) == before


def test_files_and_prompt_must_fit_the_model(made, data, tmp_path, same_arithmetic):
    with pytest.raises(UserError, match=r"too short for 300 tokens of files.*--repository_context to at most 208"):
        run(made, tmp_path / "out", "--dataset", str(data), "--repository_context", "300")


@pytest.mark.parametrize(
    ("flags", "message"),
    [(["--rescore"], "asks models: leave it out"), (["--backend", "vllm"], "needs --backend transformers")],
)
def test_contradicting_flags_are_refused(flags, message, made, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(made, tmp_path / "out", "--repository_context", "60", *flags)
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_data_set_without_documents_is_refused(made, tmp_path, same_arithmetic):
    with pytest.raises(UserError, match="nothing can be retrieved"):
        run(made, tmp_path / "out", "--repository_context", "60")
    assert not (tmp_path / "out").exists()


def test_the_picture_shows_every_cell_in_every_place(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    content, _ = compared((10, 10, 40, 40), PLACES[:2])
    result = content.benchmarks["heldout"]
    plots.grid(result, content.models, tmp_path / "grid.png")
    (axes,) = figures[0].axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "all prompts\n(60)",
        f"{PLACES[0]}\n(30)",
        f"{PLACES[1]}\n(30)",
    ]
    drawn = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) == 3]
    for key, values in zip(CELLS, drawn, strict=False):
        assert values == [place.scores[key].value for place in result.grid.places]


def test_the_picture_is_in_the_page(finished):
    assert (finished / "grid-heldout.png").is_file()
    picture = base64.b64encode((finished / "grid-heldout.png").read_bytes()).decode()
    assert picture in (finished / "report.html").read_text()
