"""Classes with docstrings, as pairs of the task summary."""

from codefit.code.languages import LANGUAGES
from codefit.records import Pair
from codefit.tasks.instructions import question

CODE = "class Reader:\n    # ```\n    def read(self, lines):\n        return lines"


def pair(number, docstring):
    prompt = question(CODE.replace("Reader", f"Reader{number}"), LANGUAGES["python"], "plain", "Docstring of it", "")
    return Pair(f"{number}", "summary", prompt, docstring, path=f"{number}.py", language="python")


PAIRS = [pair(number, f"Reads {'many ' * number}lines.") for number in range(6)]
