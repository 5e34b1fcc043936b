"""The table of fill-in-the-middle sentinels, used for data, training, benchmarks, cards and editor files.

PSM gives the prefix, the suffix, then the middle; SPM gives the suffix first. The spellings are from the model cards:
bigcode/starcoder2-7b, codellama/CodeLlama-7b-hf, deepseek-ai/deepseek-coder-6.7b-base,
Qwen/Qwen2.5-Coder-7B, google/codegemma-7b, mistralai/Codestral-22B-v0.1. Phi, CodeGen and plain Llama have none.

StarCoder and CodeLlama were trained with half of the examples in each order (arXiv 2305.06161, 2308.12950), and codefit
does the same, because each order helps the other (arXiv 2207.14255). They are served with the prefix first. Every other
family is trained in the order in which it is served.
"""

import dataclasses
from collections.abc import Container


@dataclasses.dataclass(frozen=True, slots=True)
class FimFormat:
    """Sentinels of a model family.

    `middle` is "" if the family has no sentinel for the middle; `both` means that it is trained with both orders.
    """

    name: str
    prefix: str
    suffix: str
    middle: str
    order: str = "PSM"
    both: bool = False

    def parts(self, prefix: str, suffix: str, suffix_first: bool = False) -> list[tuple[str, str]]:
        """Return the prompt as ("token", sentinel) and ("text", code) parts, in the order in which it is served.

        `suffix_first` gives the other order of a family trained with both: the middle follows the prefix.
        """
        before, behind = [("token", self.prefix), ("text", prefix)], [("token", self.suffix), ("text", suffix)]
        middle = [("token", self.middle)] if self.middle else []
        if suffix_first:
            return [before[0], *behind, *middle, before[1]]
        return [*before, *behind, *middle] if self.order == "PSM" else [*behind, *before, *middle]

    @property
    def sentinels(self) -> tuple[str, ...]:
        """The special tokens that the tokenizer must have."""
        return tuple(token for token in (self.prefix, self.suffix, self.middle) if token)


FORMATS = (
    FimFormat("starcoder", "<fim_prefix>", "<fim_suffix>", "<fim_middle>", both=True),
    FimFormat("qwen2.5-coder, codegemma", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    FimFormat("deepseek-coder", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    FimFormat("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", both=True),
    FimFormat("codestral", "[PREFIX]", "[SUFFIX]", "", order="SPM"),
)

BASE = FORMATS[0]  # data/base uses StarCoder's spelling, which llama.cpp and the editors recognise


def detect(vocabulary: Container[str]) -> FimFormat | None:
    """Return the format whose sentinels are all in the vocabulary, or None for a model without fill-in-the-middle."""
    return next((row for row in FORMATS if all(token in vocabulary for token in row.sentinels)), None)


def named(name: str | None) -> FimFormat | None:
    """Return the format of this name, None for no name."""
    return next((row for row in FORMATS if row.name == name), None)
