"""Typed settings of a benchmark run. Does not import torch.

benchmarking.py makes BenchmarkSettings from its flags; `contenders.resolve` decides what they leave open. The code
after that takes the narrow settings.
"""

import dataclasses
from typing import Literal

from codefit.generation.decoding import Decoding

Backend = Literal["transformers", "vllm"]


@dataclasses.dataclass(frozen=True, slots=True)
class BenchmarkSettings:
    """The settings of a command; None means that the first adapted model's metadata decides.

    Attributes:
        adapted: folders or Hub ids of the adapted models.
        base: folder or Hub id of their base.
        few_shot: number of examples in the prompts of the few-shot base; 0: there is no such model.
        load_in_4bit: whether models are loaded in 4 bits.
        benchmarks: "heldout", a name of benchmarks/formats.py, or the path of a file.
        dataset: prepared data set of the held-out pairs and the training data.
        split: split of the data set.
        forgetting: data set or file of unrelated code.
        sample: number of prompts of each benchmark; 0 means all.
        seed: seed of the sample, the examples and the intervals.
        max_new_tokens: limit of new tokens, where a benchmark does not set its own.
        max_prompt_tokens: limit of prompt tokens.
        tokens_per_batch: rows times the longest row.
        decoding: how tokens are chosen.
        backend: the library that generates the predictions.
        with_cache: whether the prediction cache is used.
        execute: whether tests are run on what the models wrote.
        chat_base: whether the base is also asked in its chat template.
        system_prompt: of that base; "" for the one of its template.
        repository_context: most tokens of files that are retrieved for a prompt of two more models; 0: there are none.
    """

    adapted: tuple[str, ...]
    base: str | None
    few_shot: int
    load_in_4bit: bool | None
    benchmarks: tuple[str, ...]
    dataset: str | None
    split: str
    forgetting: str | None
    sample: int
    seed: int
    max_new_tokens: int
    max_prompt_tokens: int | None
    tokens_per_batch: int | None
    decoding: Decoding
    backend: Backend
    with_cache: bool
    execute: bool = False
    chat_base: bool = False
    system_prompt: str = ""
    repository_context: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class QuestionSettings:
    """Which prompts are evaluated; the attributes are those of BenchmarkSettings.

    In addition, `trained_on` names the data sets that the adapted models were trained on, including replayed ones.
    """

    benchmarks: tuple[str, ...]
    dataset: str
    split: str
    forgetting: str | None
    sample: int
    seed: int
    max_new_tokens: int
    execute: bool = False
    trained_on: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class InferenceSettings:
    """How predictions are generated; the attributes are those of BenchmarkSettings."""

    max_prompt_tokens: int
    tokens_per_batch: int
    decoding: Decoding
    load_in_4bit: bool
    backend: Backend
    with_cache: bool
    few_shot: int
    seed: int
    system_prompt: str = ""
    repository_context: int = 0
