"""The report without any model: planted defects are reported, texts are escaped, plots are deterministic."""

import dataclasses
import hashlib
import html.parser
import json
import math
import random
import re

import msgspec
import pytest

from codefit.evaluation import comparison, output_checks
from codefit.evaluation.report import conclusion, prediction_browser, terminal, wording
from codefit.evaluation.report import html as page
from codefit.evaluation.result_schema import Difference, MetricRow, Score
from codefit.page import rendering
from codefit.training import plots
from tests.support.report import (
    ADAPTED,
    ATTACK,
    BASE,
    HELD_OUT,
    MODELS,
    PROMPT,
    REFERENCE,
    attacked,
    compared,
    prediction,
    wrong,
)


def written(base=BASE, adapted=ADAPTED, **options):
    return page.page(*compared(base, adapted), {"Command": "benchmarking.py --seed 0"}, **options)


# ------------------------------------------------------------------------------------------- pathologies


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (REFERENCE, []),
        ("", ["empty"]),
        (" \n\t\n", ["empty"]),
        (PROMPT + REFERENCE, ["echo"]),
        ("x = 1\n# the area of a circle\n    return 1", []),  # a line of the prompt, not its head or tail
        ("return 0\n" + PROMPT, ["echo"]),
        ("x = f(x); " * 4, ["repeats"]),
        ("x = f(x); " * 3, []),
        ("}\n" * 30, []),  # brackets alone are no repetition
        ("0, " * 8, ["repeats"]),
        ("a b c d e f g h i j k l m n o p", []),
    ],
)
def test_defects_of_one_text(text, found):
    assert [name for name, (_, holds) in output_checks.TEXT_CHECKS.items() if holds(text, PROMPT)] == found


def test_a_short_prompt_does_not_count_as_an_echo():
    assert not output_checks.echoes("x = y = 1", "x = ")


def test_counts_are_of_the_right_items():
    base = [
        prediction(0),
        prediction(1, "", "length"),
        prediction(2, reason="length", reference_finish_reason="length"),
    ]
    adapted = [prediction(0), prediction(1), prediction(2, "", reference_finish_reason="length")]
    table = {row.check: row for row in output_checks.rows({"base": base, "adapted": adapted})}
    found = {
        name: [count.count for count in (row.reference, row.counts["base"], row.counts["adapted"])]
        for name, row in table.items()
    }
    assert found == {
        "stops": [2, 1, 3],
        "stops_at_natural_end": [2, 1, 2],
        "empty": [0, 1, 1],
        "echo": [0, 0, 0],
        "repeats": [0, 0, 0],
        "fence": [0, 0, 0],
        "runs_on": [0, 0, 0],
        "same": [3, 2, 2],
    }
    assert table["stops"].counts["adapted"].of == 3
    assert table["stops_at_natural_end"].counts["adapted"].of == 2


PLANTED = {
    "nothing": ({}, None),
    "empty": (
        {"text": ""},
        "100 % of the predictions of the adapted model are empty (base model 0 %, references 0 %).",
    ),
    "echo": (
        {"text": PROMPT + REFERENCE},
        "100 % of the predictions of the adapted model contain the prompt (base model 0 %, references 0 %).",
    ),
    "repeats": (
        {"text": "go(x); " * 9},
        "100 % of the predictions of the adapted model repeat themselves (base model 0 %, references 0 %).",
    ),
    "never stops": (
        {"reason": "length"},
        "The adapted model stops by itself at only 0 % of the natural ends (base model 100 %).",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_planted_defects_are_reported_in_every_form(planted):
    changes, sentence = PLANTED[planted]
    adapted = [prediction(number, **changes) for number in range(30)]
    content, scored = compared(adapted=adapted)
    findings = content.benchmarks["heldout"].findings
    assert findings == ([sentence] if sentence else [])
    shown = (
        page.page(content, scored, {}),
        terminal.markdown(content),
        terminal.table(content.benchmarks["heldout"], MODELS),
    )
    for text in shown:
        assert sentence is None or sentence in " ".join(text.split())


def test_defects_that_references_share_are_not_reported():
    same = [prediction(number, text="", reference="") for number in range(5)]
    table = output_checks.rows({"base": same, "adapted": same})
    assert output_checks.findings(table, {"adapted": "adapted model"}, "base model") == []


# ------------------------------------------------------------------------------------------- comparison


def test_better_equal_and_worse_are_distinguished():
    verdicts = {}
    for name, base, adapted in (("up", BASE, ADAPTED), ("down", ADAPTED, BASE), ("same", BASE, BASE)):
        rows = compared(base, adapted)[0].benchmarks["heldout"].metrics
        verdicts[name] = {row.metric: row.against_base["adapted"].verdict for row in rows}
    assert set(verdicts["up"].values()) == {"better"}
    assert set(verdicts["down"].values()) == {"worse"}
    assert set(verdicts["same"].values()) == {"not resolved"}


def test_without_nats_there_is_no_perplexity():
    bare = [dataclasses.replace(item, scores={}) for item in BASE]
    found = comparison.compare({"base": bare, "adapted": bare}, MODELS, HELD_OUT, 0, {})
    names = [row.metric for row in found.metrics]
    assert names == ["edit_similarity_cut", "accepted", "edit_similarity", "exact_match", "next_line", "bleu", "chrf"]


def test_without_reference_tokens_there_is_no_perplexity():
    empty = [prediction(number, reference="", scores={"nats": 0.0, "tokens": 0}) for number in range(3)]
    found = comparison.compare({"base": empty, "adapted": empty}, MODELS, HELD_OUT, 0, {})
    assert found.metrics[-1].metric == "chrf"


def test_binary_metrics_have_the_exact_test():
    rows = {row.metric: row.against_base["adapted"] for row in compared()[0].benchmarks["heldout"].metrics}
    assert rows["exact_match"].mcnemar_p == pytest.approx(2 * 0.5**20)  # 20 hits, all of one model
    assert rows["bleu"].mcnemar_p is None


def test_a_little_better_is_not_the_same():
    content, scored = compared()
    headline = content.benchmarks["heldout"].headline.metric
    for role, score in (("base", 50.01), ("adapted", 50.04)):
        scored["heldout"][role][0] = dataclasses.replace(scored["heldout"][role][0], scores={headline: score})
    answers = prediction_browser.content(content, scored)["items"][0]["answers"]
    assert [answer["score"] for answer in answers] == [50.01, 50.04]  # both are shown as 50.0


def test_a_few_hits_of_only_one_model_give_no_verdict():
    base = [wrong(number) for number in range(30)]
    for hits, verdict in ((5, "not resolved"), (6, "better")):  # McNemar's p of 0.06 and of 0.03, as primary metric
        right = range(0, 5 * hits, 5)
        adapted = [prediction(number) if number in right else wrong(number) for number in range(30)]
        rows = {
            row.metric: row.against_base["adapted"]
            for row in compared(base, adapted, primary="exact_match")[0].benchmarks["heldout"].metrics
        }
        assert rows["exact_match"].verdict == verdict


def test_items_keep_what_the_model_measured():
    item = comparison.score_items([prediction(3)])[0]
    assert item.scores["nats"] == 13.0
    assert item.scores["edit_similarity"] == item.scores["exact_match"] == 100


# ------------------------------------------------------------------------------------------- words and numbers


def metric_row(higher_is_better, *highs):
    """Return a metric of models whose intervals end at these values."""
    scores = {str(at): Score(0.0, 0.0, high) for at, high in enumerate(highs)}
    return MetricRow("m", "M", "", higher_is_better, 1, "m|n:1", scores, {})


PERCENT, FREE = metric_row(True), metric_row(False)


@pytest.mark.parametrize(
    ("value", "row", "text", "with_sign"),
    [
        (43.26, PERCENT, "43.3", "+43.3"),
        (-0.31, PERCENT, "−0.3", "−0.3"),
        (-0.04, PERCENT, "0.0", "0.0"),
        (0.0, PERCENT, "0.0", "0.0"),
        (100.0, PERCENT, "100.0", "+100.0"),
        (12.345, FREE, "12.35", "+12.35"),
        (-1234.5, FREE, "−1234", "−1234"),
        (math.inf, FREE, "inf", "+inf"),
        (-math.inf, FREE, "−inf", "−inf"),
        (math.nan, FREE, "–", "–"),
    ],
)
def test_numbers(value, row, text, with_sign):
    assert (wording.number(value, row), wording.signed(value, row)) == (text, with_sign)


@pytest.mark.parametrize(
    ("highs", "top"),
    [((3.1, 3.9), 4), ((4.1, 2.0), 8), ((0.61, 0.2), 0.8), ((9, 1), 10), ((120, 90), 200), ((0, 0), 1)],
)
def test_a_scale_covers_everything_shown(highs, top):
    assert wording.scale(metric_row(False, *highs)) == pytest.approx([0, top / 4, top / 2, top * 3 / 4, top])
    assert wording.scale(metric_row(True, *highs)) == [0, 25, 50, 75, 100]


def test_an_infinite_perplexity_still_has_a_scale():
    assert all(math.isfinite(tick) for tick in wording.scale(metric_row(False, math.inf, 3.0)))


@pytest.mark.parametrize(
    ("base", "adapted", "start"),
    [
        (
            BASE,
            ADAPTED,
            "With stopping taken out, the adapted model is better than the base (67.6) on held-out code: +21.7 [",
        ),
        (
            ADAPTED,
            BASE,
            "With stopping taken out, the adapted model is worse than the base (89.2) on held-out code: −21.7 [",
        ),
        (
            BASE,
            BASE,
            "The content of the adapted model is the same as the base's within 2 points on held-out code: 0.0",
        ),
        (BASE[:12], ADAPTED[:12], "Too few prompts (12 from 4 files; about 6 more files are needed) to tell whether"),
    ],
)
def test_the_verdict_comes_first(base, adapted, start):
    content = compared(base, adapted)[0]
    sentences = conclusion.sentences(content.benchmarks["heldout"], MODELS)
    assert sentences[0].startswith(start)
    assert len(sentences) == 2
    assert sentences[1].startswith("Secondary metrics, corrected for their number: ")
    assert terminal.markdown(content).split("\n\n")[2].startswith(start)
    assert (
        " ".join(terminal.table(content.benchmarks["heldout"], MODELS).split()).split("files ", 1)[1].startswith(start)
    )


def test_a_benchmark_without_any_verdict_is_one_line():
    large, small = (compared(BASE[:size], ADAPTED[:size])[0].benchmarks["heldout"] for size in (30, 1))
    assert [terminal.is_too_small(result) for result in (large, small)] == [False, True]
    said = "Held-out code: 1 prompt from 1 file: too few to compare the models; the report has the scores"
    assert terminal.brief(small) == said
    assert "of 1 prompt (too few)" in " ".join(terminal.table(small, MODELS).split())


def test_the_table_fits_100_columns_with_any_numbers():
    result = compared()[0].benchmarks["heldout"]
    full, gap = Score(100.0, 100.0, 100.0), Difference(-100.0, -100.0, -100.0, 1.0, 1.0, "not resolved")
    wide = {"scores": dict.fromkeys(MODELS, full), "against_base": {"adapted": gap}}
    rows = [msgspec.structs.replace(row, **wide) for row in result.metrics]
    lines = terminal.table(msgspec.structs.replace(result, metrics=rows), MODELS).splitlines()
    assert max(map(len, lines)) <= 100
    assert sum("not resolved" in line for line in lines) >= 8


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_the_table_fits_the_terminal_and_keeps_every_verdict(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    result = compared()[0].benchmarks["heldout"]
    gap = Difference(-100.0, -100.0, -100.0, 1.0, 1.0, "not resolved")
    wide = {"scores": dict.fromkeys(MODELS, Score(100.0, 100.0, 100.0)), "against_base": {"adapted": gap}}
    rows = [msgspec.structs.replace(row, **wide) for row in result.metrics]
    lines = terminal.table(msgspec.structs.replace(result, metrics=rows), MODELS).splitlines()
    assert max(map(len, lines)) <= min(columns, 100)
    assert sum(line.endswith("  not resolved") for line in lines) >= 8
    assert sum("[" in line for line in lines if line.endswith("  not resolved")) >= 8


def test_verdicts_are_coloured_where_they_end_a_row():
    text = "metric  verdict\nxx  better\nyy  worse\nzz  not resolved\nit is better"
    assert terminal.coloured(text).splitlines() == [
        "metric  verdict",
        "xx  \033[32mbetter\033[0m",
        "yy  \033[31mworse\033[0m",
        "zz  \033[33mnot resolved\033[0m",
        "it is better",
    ]


def test_markdown_tables_are_complete():
    base, adapted = (
        [dataclasses.replace(item, prompt="load(") if at < 9 else item for at, item in enumerate(items)]
        for items in (BASE, ADAPTED)
    )
    text = terminal.markdown(compared(base, adapted)[0])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert [line.count("|") for line in table[:10]] == [6] * 10  # head, rule, eight metrics
    assert {line.count("|") for line in table[10:]} == {7}  # groups of prompts
    assert "`edit_similarity|sim:indel" in text


# ------------------------------------------------------------------------------------------- the page


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and the texts of scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts = [], [], []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.inside = tag == "script"
        if self.inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


def test_texts_cannot_inject_markup():
    content, scored = compared(attacked(), attacked())
    adapted = msgspec.structs.replace(MODELS["adapted"], name=ATTACK)
    content = msgspec.structs.replace(content, models={**MODELS, "adapted": adapted})
    text = page.page(content, scored, {"Command": ATTACK})
    reader = Reader(text)
    assert len(reader.scripts) == 2
    items = json.loads(reader.scripts[0])["items"]
    assert items[0]["prompt"] == items[0]["reference"] == items[0]["suffix"] == ATTACK
    assert items[0]["answers"][0]["parts"] == [ATTACK]
    assert "<script>document" not in text
    assert "img" not in reader.tags
    assert "innerHTML" not in text


def test_the_examples_are_those_with_the_smallest_hash_of_their_id():
    content, scored = compared()
    found = [item["id"] for item in prediction_browser.content(content, scored)["examples"][0]]
    ids = [item.id for item in scored["heldout"]["base"]]
    assert found == sorted(ids, key=lambda id: hashlib.sha256(id.encode()).hexdigest())[:3]
    assert "The 3 of 30 prompts whose ids have the smallest sha256: nobody chose them." in written()


def test_a_prediction_says_where_an_editor_cuts_it():
    long = [prediction(number, text=f"math.tau + radius{number}\nprint(1)\n") for number in range(30)]
    content, scored = compared(long)
    base, adapted = prediction_browser.content(content, scored)["items"][0]["answers"]
    assert base["kept"] == len("math.tau + radius0")
    assert "kept" not in adapted


def test_a_cut_prompt_says_whether_it_begins_inside_a_docstring():
    texts = {
        'def f():\n    """Start\n' + "words\n" * 300: True,
        'def f():\n    """Whole."""\n' + "words\n" * 300: False,
        'def f():\n    """Start': False,
    }
    for text, inside in texts.items():
        items = [dataclasses.replace(item, prompt=text) for item in BASE]
        found = prediction_browser.content(*compared(items, items))
        assert {item["inside"] for item in [*found["items"], *found["examples"][0]]} == {inside}


def test_every_link_of_the_page_leads_somewhere():
    reader = Reader(
        written([dataclasses.replace(item, prompt="load(") if item.id < "item2" else item for item in BASE])
    )
    targets = [value[1:] for name, value in reader.attributes if name == "href" and value.startswith("#")]
    assert len(set(targets)) >= 8
    assert set(targets) <= {value for name, value in reader.attributes if name == "id"}


def test_script_json_cannot_end_the_script_element():
    value = [ATTACK, "\u2028\ud800 \0", {"<": [1.5, None]}]
    text = rendering.script_json(value)
    assert json.loads(text) == value
    assert not re.search("[<>&]", text)
    text.encode()  # a lone surrogate is escaped, so that it can be written


def test_all_sections_are_there(tmp_path):
    plots.loss_curve([{"step": 1, "loss": 2.0}], tmp_path / "loss.png")
    text = written(loss_png=tmp_path / "loss.png")
    reader = Reader(text)
    titles = (
        "Examples",
        "Scores",
        "Predictions",
        "Charts",
        "Endings and defects",
        "Training curve",
        "How this was made",
    )
    for title in titles:
        assert re.search(rf"<h[23][^>]*>{title}</h[23]>", text)
    assert {"header", "main", "footer", "nav", "section", "details", "table", "svg"} <= set(reader.tags)
    assert ("lang", "en") in reader.attributes
    assert reader.tags.count("svg") == 2 + 9 * 3  # two in the legend; nine metrics, with a mark for each model
    assert "Training curve" not in written()
    images = [value for name, value in reader.attributes if name == "src"]
    assert len(images) == 1
    assert images[0].startswith("data:image/png;base64,")
    assert "<!--{" not in text


def test_the_page_needs_no_network(tmp_path):
    text = written()
    links = [value for name, value in Reader(text).attributes if name in {"src", "href", "action", "srcset"}]
    assert [link for link in links if not link.startswith("#")] == ["data:,"]
    assert not re.search(r"https?://|@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text


def test_the_browser_shows_a_limited_number_and_says_so():
    long = "x" * 50 + " = call(argument, other)\n"
    base = [prediction(n) for n in range(510)]
    base[0] = prediction(0, long * 60, prompt=long * 100, reference=long * 60)
    text = written(base, base)
    items = json.loads(Reader(text).scripts[0])["items"]
    assert len(items) == 500
    assert "500 of 510; all are in the predictions files" in text
    assert items[0]["prompt"] == "… " + (long * 100)[-1000:]
    assert items[0]["reference"].endswith(" … (2500 more characters)")
    few = written(base[:5], base[:5])
    assert "5 prompts, with the predictions of all models" in few


def test_500_usual_items_stay_under_two_megabytes():
    random.seed(0)
    words = ["value", "self", "return", "(", ")", "=", "x", "\n    "]
    base = [
        prediction(n, *(["".join(random.choices(words, k=64))]), prompt="".join(random.choices(words, k=500)))
        for n in range(500)
    ]
    assert len(written(base, base).encode()) < 2_000_000


@pytest.mark.parametrize(
    ("ours", "theirs", "parts"),
    [
        ("", "", [""]),
        ("", "x", [""]),
        ("x", "", ["", "x"]),
        ("a + b", "a + b", ["a + b"]),
        ("a + c", "a + b", ["a + ", "c"]),
        ("c + b", "a + b", ["", "c", " + b"]),
        ("a", "a + b", ["a"]),
        ("a  b", "a b", ["a", "  ", "b"]),
        ("return foo(bar)", "return foo(baz)", ["return foo(", "bar", ")"]),
    ],
)
def test_differing_parts(ours, theirs, parts):
    assert prediction_browser.differing(ours, theirs) == parts


def test_differing_parts_are_the_prediction():
    random.seed(1)
    for _ in range(200):
        ours, theirs = ("".join(random.choices("ab \n(é1_", k=random.randint(0, 30))) for _ in range(2))
        parts = prediction_browser.differing(ours, theirs)
        assert "".join(parts) == ours
        assert all(parts[1:])
