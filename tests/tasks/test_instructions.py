"""Naming and summary: what is masked, what is left out, how a model is asked, and what the answers score."""

import dataclasses
from collections import Counter

import pytest

from codefit.code.languages import LANGUAGES
from codefit.code.syntax import Syntax
from codefit.curation.pair_texts import foreign_text
from codefit.encoding import Encoder
from codefit.errors import UserError
from codefit.evaluation.report import naming_errors
from codefit.evaluation.result_schema import Model, Role
from codefit.manifest import ROOT
from codefit.records import Document, Pair, Prediction
from codefit.scoring import naming, rouge_l
from codefit.scoring.naming import NAMING_F1, NAMING_F1_MICRO, NAMING_PRECISION, NAMING_RECALL, NAMING_STEMMED
from codefit.scoring.parse_rate import PARSE_RATE
from codefit.scoring.rouge_l import ROUGE_L
from codefit.tasks import instructions, token_offsets
from codefit.tasks.instructions import PROMPT_FORMATS
from codefit.tasks.task import load_task
from tests.support.documents import OPTIONS, SOURCES, WORDS, build, document_of

# ---------------------------------------------------------------------------------------------- naming


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_never_occurs_in_its_prompt(language, prompt_format):
    pairs, _ = build("naming", document_of(language), prompt_format=prompt_format)
    (pair,) = [pair for pair in pairs if pair.completion.lower().endswith("lines")]
    assert pair.completion.lower() not in pair.prompt.lower()
    assert pair.prompt.count("FUNCTION_NAME") >= 4  # its head, its documentation, its recursion, and the question
    assert pair.prompt_format == ("chat" if prompt_format == "chat" else None)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_name_can_be_asked_for_without_the_documentation(language):
    document = document_of(language)
    pairs, _ = build("naming", document, without_docstring=True)
    documented, _ = build("naming", document)
    assert [pair.id for pair in pairs] == [pair.id for pair in documented]
    (pair, other) = (p for found in (pairs, documented) for p in found if p.completion.lower().endswith("lines"))
    assert "stops at the limit" in other.prompt
    assert "stops at the limit" not in pair.prompt
    syntax = Syntax(document.content, LANGUAGES[language])
    function = next(found for found in syntax.functions() if found.name == pair.completion)
    assert len("".join(other.prompt.split())) - len("".join(pair.prompt.split())) == len(
        "".join(document.content[slice(*function.docstring)].replace(function.name, "FUNCTION_NAME").split())
    )
    assert all(foreign_text(pair, document.content) is None for pair in pairs)
    assert foreign_text(dataclasses.replace(pair, prompt=pair.prompt.replace("limit", "bound")), document.content)


MASKED = [
    ("def M(self):\n    a\n    return self.M() + M_of(b)", "size_of(b)"),
    ("@M.setter\ndef M(self, v):\n    a = v\n    b = a", ""),
    ("def M(x):\n    __all__ = ['M']\n    return f'{M(x)}'", ""),
]


@pytest.mark.parametrize(("masked", "kept"), MASKED)
def test_what_is_masked(masked, kept):
    masked = masked.replace("M_of(b)", kept)
    code = f"class A:\n    {masked.replace('M', 'size').replace(chr(10), chr(10) + '    ')}\n"
    (pair,), _ = build("naming", document_of("python", code))
    assert pair.prompt == masked.replace("M", "FUNCTION_NAME") + "\n\n# Name of FUNCTION_NAME:\n"


@pytest.mark.parametrize(
    ("language", "code", "reason"),
    [
        ("python", "def __iter__(self):\n    a\n    b\n", "name that is not free"),
        ("python", "def setUp(self):\n    a\n    b\n", "name that is not free"),
        ("python", "def _(self):\n    a\n    b\n", "name that is not free"),
        ("python", "@override\ndef f(self):\n    a\n    b\n", "override"),
        ("python", "def f(self):\n    a\n    super().f()\n", "override"),
        ("python", "@a\n@b\ndef f(self):\n    '''More\n    than one line.\n    '''\n    a\n", "short function"),
        ("java", "class A {\n@Override\npublic int f() {\n  a();\n  b();\n}\n}\n", "override"),
        ("java", "class A {\nint hashCode() {\n  a();\n  b();\n}\n}\n", "name that is not free"),
        ("java", "interface A {\nint f();\n}\n", "abstract function"),
        ("kotlin", "class A {\n    override fun f() {\n        a()\n        b()\n    }\n}\n", "override"),
        ("kotlin", "abstract class A {\n    abstract fun f()\n}\n", "abstract function"),
        ("kotlin", "fun f() = 1\n", "short function"),
        ("kotlin", "fun `it is so`() {\n    a()\n    b()\n}\n", "name that is a sentence"),
        ("typescript", "class A {\n  override f() {\n    a();\n    b();\n  }\n}\n", "override"),
        ("typescript", "abstract class A {\n  abstract f(): void;\n}\n", "abstract function"),
        ("go", "package a\n\nfunc main() {\n\ta()\n\tb()\n}\n", "name that is not free"),
    ],
)
def test_functions_without_a_free_name_are_skipped_and_counted(language, code, reason):
    assert build("naming", document_of(language, code)) == ([], Counter({reason: 1}))


def test_a_long_function_keeps_its_head():
    code = "def sum_up(values):\n" + "    total += values.pop()\n" * 200
    (pair,), _ = build("naming", document_of("python", code), max_prompt_tokens=200)
    assert pair.prompt.startswith("def FUNCTION_NAME(values):\n    total")
    assert pair.prompt.endswith("values.pop()\n\n# Name of FUNCTION_NAME:\n")
    assert 3 * 100 < len(pair.prompt) < 3 * 200


# ---------------------------------------------------------------------------------------------- summary


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_summary_is_asked_without_what_it_says(language, prompt_format):
    (pair,), _ = build("summary", document_of(language), prompt_format=prompt_format)
    assert pair.completion == WORDS
    assert "in memory" not in pair.prompt
    assert "Reader" in pair.prompt
    assert ("Write the documentation" in pair.prompt) is (prompt_format != "plain")
    assert pair.prompt.endswith("Docstring of the class Reader:\n") is (prompt_format != "chat")


def test_a_class_loses_the_lines_of_its_docstring_and_no_other():
    text = f'@a\nclass Reader(B):\n    """{WORDS}\n\n    :param x: more\n    """\n\n'
    text += '    x = 1\n\n    def f(self):\n        """Kept."""\n'
    (pair,), _ = build("summary", document_of("python", text))
    code = pair.prompt.removesuffix("\n\n# Docstring of the class Reader:\n")
    assert code == '@a\nclass Reader(B):\n    x = 1\n\n    def f(self):\n        """Kept."""'
    assert pair.completion == f"{WORDS}\n\n:param x: more"


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS)
@pytest.mark.parametrize("language", ["python", "kotlin"])
def test_a_long_class_is_cut_and_the_question_is_not(language, prompt_format):
    text = SOURCES[language].replace("path\n", "path\n" + "        x = 1\n" * 500)
    text = text.replace("    override fun close() {\n", "    override fun close() {\n" + "        x = 1\n" * 500)
    whole = build("summary", document_of(language), prompt_format=prompt_format)[0][0].prompt
    (pair,), _ = build("summary", document_of(language, text), max_prompt_tokens=300, prompt_format=prompt_format)
    assert len(pair.prompt) < 3 * 300 + 200  # the question has more than three characters a token
    end = "```\n" if prompt_format == "chat" else "Docstring of the class Reader:\n"
    assert whole.endswith(end)
    assert pair.prompt.endswith(end)
    assert pair.prompt[:60] == whole[:60]
    assert pair.prompt.count("x = 1") < 60


CUT = {
    "python": (f'class A:\n    """{WORDS}"""\n', "    def f@(self):\n        a = 1\n        return a\n\n", "return a"),
    "kotlin": (
        f"/** {WORDS} */\nclass A {{\n",
        "    // it is\n    fun f@() {\n        a()\n        b()\n    }\n\n",
        "}",
    ),
    "java": (f"/** {WORDS} */\nclass A {{\n", "    int f@() {\n        a();\n        return b;\n    }\n\n", "}"),
}


@pytest.mark.parametrize("room", range(150, 260, 10))
@pytest.mark.parametrize("language", CUT)
def test_a_class_is_cut_between_its_members(language, room):
    head, member, last = CUT[language]
    text = head + "".join(member.replace("@", str(number)) for number in range(40))
    text += "" if language == "python" else "}\n"
    (pair,), _ = build("summary", document_of(language, text), max_prompt_tokens=room)
    code = pair.prompt.partition("\n\n# Docstring")[0].partition("\n\n// Docstring")[0]
    assert 2 <= code.count("f") < 40
    assert code.endswith(last)
    assert Syntax(code + ("" if language == "python" else "\n}"), LANGUAGES[language]).has_error is False


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class A:\n    x = 1\n", "class without documentation"),
        ('class A:\n    """Too short."""\n', "documentation under 20 words"),
        (f'class A:\n    """{WORDS * 5}"""\n', "documentation over the limit"),
    ],
)
def test_classes_that_are_left_out_are_counted(text, reason):
    assert build("summary", document_of("python", text)) == ([], Counter({reason: 1}))


# ---------------------------------------------------------------------------------------------- the chat template

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|pad|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def chat_encoder(tiny_tokenizer, room=200):
    tokenizer = type(tiny_tokenizer)(
        tokenizer_object=tiny_tokenizer.backend_tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = TEMPLATE
    return Encoder(tokenizer, room)


def chat_pair(text):
    return Pair(id="1", task="naming", prompt=text, completion="name", prompt_format="chat")


def test_a_chat_prompt_is_the_message_in_the_template(tiny_tokenizer):
    encoder = chat_encoder(tiny_tokenizer)
    ids = encoder.pair_ids(chat_pair("Name <|pad|> it."))
    text = encoder.tokenizer.decode(ids)
    assert text == "<|im_start|>user\nName <|pad|> it.<|pad|>\n<|im_start|>assistant\n"
    assert ids.count(encoder.pad_id) == 1, "only the template's own special token is special"
    sample = next(encoder.samples([chat_pair("Name <|pad|> it.")]))
    assert sample.ids[: sample.start].tolist() == ids


def test_a_long_message_is_cut_and_its_template_is_not(tiny_tokenizer):
    encoder = chat_encoder(tiny_tokenizer, 60)
    ids = encoder.pair_ids(chat_pair("word " * 300 + "end"))
    text = encoder.tokenizer.decode(ids)
    assert len(ids) == 60
    assert text.startswith("<|im_start|>user\n")
    assert text.endswith("word end<|pad|>\n<|im_start|>assistant\n")


def test_the_code_in_a_chat_prompt_leaves_room_for_the_template_and_its_system_prompt():
    system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    tokenizer = token_offsets.load_tokenizer(str(ROOT / "data" / "base"))
    body = "".join(f"    total += values[{n}] * {n}\n" for n in range(80))
    document = Document(f"def weighted_total(values):\n    total = 0\n{body}", "a.py", language="python")
    (starts,) = token_offsets.token_starts(tokenizer, [document.content])
    lengths = {}
    for prompt_format in ("verbose", "chat"):
        options = dataclasses.replace(OPTIONS, prompt_format=prompt_format, max_prompt_tokens=192)
        (pair,) = load_task("naming").build_pairs(document, starts, options, Counter())
        code = instructions.code_of(pair.prompt, LANGUAGES["python"])
        lengths[prompt_format] = len(tokenizer.encode(code).ids)
    assert lengths["chat"] + len(system.split()) + 10 < lengths["verbose"]


def test_a_model_without_a_chat_template_is_one_sentence(tiny_tokenizer):
    with pytest.raises(UserError, match="has no chat template; prepare the data with --prompt_format plain, or choose"):
        Encoder(tiny_tokenizer, 64).pair_ids(chat_pair("a"))


# ---------------------------------------------------------------------------------------------- metrics


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("utf8ToUtf16", ["utf", "8", "to", "utf", "16"]),
        ("parseB2B", ["parse", "b", "2", "b"]),
        ("x2", ["x", "2"]),
        ("HTTPServerError", ["http", "server", "error"]),
        ("_read_lines__", ["read", "lines"]),
        ("getURL", ["get", "url"]),
        ("größe_messen", ["gr", "öß", "e", "messen"]),
        ("get_name(self)\nx = 1", ["get", "name", "self"]),
        ("", []),
    ],
)
def test_the_parts_of_a_name(name, parts):
    assert naming.parts(name) == parts


@pytest.mark.parametrize(
    ("prediction", "reference", "precision", "recall", "f1"),
    [
        ("get_name", "getName", 100, 100, 100),
        ("name", "get_name", 100, 50, 200 / 3),
        ("get_get_get_name", "get_name", 50, 100, 200 / 3),
        ("name_get", "get_name", 100, 100, 100),
        ("", "get_name", 0, 0, 0),
        ("set_value", "get_name", 0, 0, 0),
        ("get_get", "get_get_all", 100, 200 / 3, 80),
    ],
)
def test_name_scores(prediction, reference, precision, recall, f1):
    for metric, expected in ((NAMING_PRECISION, precision), (NAMING_RECALL, recall), (NAMING_F1, f1)):
        assert metric.of_pair(prediction, reference) == (pytest.approx(expected), 1.0)
    assert NAMING_F1_MICRO.score([prediction], [reference]) == pytest.approx(f1)


def test_micro_sums_counts_and_macro_is_a_mean_of_items():
    both = ["get", "a_b_c_d"], ["get", "x_y_z_w"]
    assert NAMING_F1.score(*both) == 50
    assert NAMING_F1_MICRO.score(*both) == pytest.approx(20)


@pytest.mark.parametrize(
    ("prediction", "reference", "same"),
    [
        ("getFiles", "get_file", True),
        ("read_lines\nx", "reading_line", True),
        ("file_get", "get_file", False),
        ("get_file", "get_filter", False),
        ("", "get", False),
    ],
)
def test_a_stemmed_match_leaves_case_underscores_and_endings_aside(prediction, reference, same):
    assert NAMING_STEMMED.of_pair(prediction, reference) == (100.0 * same, 1.0)


def answers(*texts):
    return [
        Prediction(id=f"{n}", prompt="p", prediction=found, reference=real, finish_reason="stop", task="naming")
        for n, (real, found) in enumerate(texts)
    ]


def test_the_page_of_errors_says_what_is_confused_and_how_long_names_come_out():
    items = answers(
        ("load_file", "read_file"), ("load_rows", "read_rows"), ("get", "get"), ("a_b_c_d_e_f", ""), ("x|y", "gets\nz")
    )
    stemmed = answers(("get_file", "getFiles"), ("get_file", "getFiles"), ("get_file", "file_get"))
    one, missed, added = naming_errors.confusions(items)
    assert one == {("load", "read"): 2}
    assert missed[("load",)] == added[("read",)] == 2
    assert [row[:3] for row in naming_errors.lengths(items)] == [
        ("1", "1", "100.0"),
        ("2", "3", "0.0"),
        ("5 or more", "1", "0.0"),
    ]
    page = naming_errors.page({"base": items, "adapted": answers(("get", "get"))}, LABELS, "held out")
    assert page.startswith("# Names that went wrong: held out\n\n## base\n")
    rows = [" ".join(line.split()) for line in page.splitlines()]
    assert rows[rows.index("| real | predicted | times |") + 2] == "| `load` | `read` | 2 |"
    assert "| `a_b_c_d_e_f` | nothing | 1 |" in rows
    assert "| `x\\|y` | `gets` | 1 |" in rows
    repaired = "Names that differ only in case, underscores or the endings of words"
    assert rows[rows.index(f"{repaired}: 0 prompts.") + 2] == "None."
    rows = naming_errors.page({"base": stemmed}, LABELS, "held out").splitlines()
    table = [" ".join(line.split()) for line in rows[rows.index(f"{repaired}: 2 prompts.") + 4 :][:2]]
    assert table == ["| `get_file` | `getFiles` | 2 |", ""]
    assert page.rstrip().endswith("Most frequently confused names:\n\nNone.")


LABELS = {role.value: Model(name="", label=role.value, role=role) for role in (Role.BASE, Role.ADAPTED)}


def independent_rouge_l(found: list[str], wanted: list[str]) -> float:
    table = [[0] * (len(wanted) + 1) for _ in range(len(found) + 1)]
    for i, a in enumerate(found, 1):
        for j, b in enumerate(wanted, 1):
            table[i][j] = table[i - 1][j - 1] + 1 if a == b else max(table[i - 1][j], table[i][j - 1])
    common = table[-1][-1]
    if not common:
        return 0.0
    precision, recall = common / len(found), common / len(wanted)
    return 100 * 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("prediction", "reference"),
    [
        ("The cat sat on the mat.", "the cat is on the mat"),
        ("a b c d", "d c b a"),
        ("x = a + b", "x = a - b"),  # operators are no words
        ("snake_case camelCase", "snake case camelcase"),
        ("", "a"),
        ("привет", "привет"),
        ("one two three four one two", "two one four three two one one"),
    ],
)
def test_rouge_l_is_its_formula(prediction, reference):
    words = [rouge_l.WORD.findall(text.lower()) for text in (prediction, reference)]
    assert ROUGE_L.of_pair(prediction, reference)[0] == pytest.approx(independent_rouge_l(*words))


def prediction_of(prediction, reference, prompt, language="python", suffix=None):
    return Prediction("1", prompt, prediction, reference, language=language, suffix=suffix)


@pytest.mark.parametrize(
    ("language", "prompt", "reference", "prediction", "suffix", "rate"),
    [
        ("python", "x = f(", "1)", "2)", None, 100),
        ("python", "x = f(", "1)", "2))", None, 0),
        ("python", "x = f(", "1)", "", None, 0),
        ("python", ") + 1\nx = ", "f(1)", "g()", None, 100),  # what is broken already is not counted
        ("python", ") + 1\nx = ", "f(1)", "g(", None, 0),
        ("python", "x = ", "1", "2 +", "\ny = 2\n", 0),
        ("kotlin", "fun f() {\n    val x = ", "1", "listOf(2)", "\n}\n", 100),
        ("java", "class A { int f() { return ", "1;", "{", " } }\n", 0),
    ],
)
def test_parse_rate(language, prompt, reference, prediction, suffix, rate):
    item = prediction_of(prediction, reference, prompt, language, suffix)
    assert PARSE_RATE.of_item(item) == (rate, 1.0)
    assert PARSE_RATE.of_item(prediction_of(reference, reference, prompt, language, suffix)) == (100, 1.0)


def test_parse_rate_needs_a_grammar():
    assert PARSE_RATE.applies([prediction_of("a", "b", "c")])
    assert not PARSE_RATE.applies([prediction_of("a", "b", "c", "cobol")])
