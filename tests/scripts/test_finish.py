"""The end of the demo: completions that are shown as an editor would cut them, chosen by a rule."""

from codefit.records import Prediction
from runs import finish


def predictions(texts, reference="value = compute(1)\n"):
    return [
        Prediction(str(n), "def f():\n    ", text, reference, path=f"m{n}.py", language="python")
        for n, text in enumerate(texts)
    ]


def test_examples_are_in_the_order_of_the_gain_and_only_where_models_differ():
    base = predictions(["x", "value = compute(1)", "valu", "same"])
    fitted = predictions(["value = compute(1)", "x", "value", "same"])
    found = finish.gains(base, fitted)
    assert [one.id for _, one, _ in found] == ["1", "2", "0"]
    assert found[0][0] < 0 < found[1][0] < found[2][0]


def test_references_that_no_eye_can_judge_are_left_out():
    base, fitted = (predictions([text], ")\n") for text in ("x", "y"))
    assert finish.gains(base, fitted) == []
    long = "".join(f"line_{n} = {n}\n" for n in range(20))
    assert finish.gains(predictions(["a"], long), predictions(["b"], long)) == []


def test_an_example_names_its_texts_and_fits_the_terminal():
    (one,), (other,) = predictions(["x = " + "1" * 200]), predictions(["value = compute(1)\n\ndef g(): pass"])
    text = finish.example(one, other)
    assert max(map(len, text.splitlines())) <= 80
    assert [line.split(" ")[0] for line in text.splitlines()] == ["", "", "base", "fitted", "reference"]
    assert "fitted    │ value = compute(1)\n" in text
    assert "▮" in text
    assert "def g" not in text
