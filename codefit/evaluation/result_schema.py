"""What scores.json holds: the models of a benchmark, and for each benchmark what was found about them.

Everything that writes or reads scores uses these types. Models are kept by key: "base", "adapted" for the first model
of --hf_repository, "adapted-2", … for further ones, "few-shot" for the base with examples in its prompts, "chat" for
the base asked in its chat template, "base-context" and "adapted-context" for models with retrieved files before their
prompts. Every map "by model" has these keys, in the order of the tables.
"""

import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from codefit import json_files
from codefit.errors import UserError
from codefit.evaluation.benchmarks.formats import Format
from codefit.outputs import write_whole
from codefit.scoring.statistics import Verdict

FILE = "scores.json"  # in the output folder of a benchmark
FORMAT: Literal[2] = 2  # of scores.json; 1 kept the first adapted model unlike the others

NO_CONCLUSION: Literal["no conclusion"] = "no conclusion"  # where something leaves a model's scores without meaning
Conclusion = Verdict | Literal["no conclusion"]
Advice = Literal["tune", "retrieve", "both", "neither", "too few", "no conclusion"]
ForgettingVerdict = Literal["forgot", "forgot less than the margin", "kept", "cannot tell", "not checked"]


WITH_CONTEXT = {"base": "base-context", "adapted": "adapted-context"}  # the same models with retrieved files
CELLS = tuple(key for both in WITH_CONTEXT.items() for key in both)


class Role(enum.StrEnum):
    """What a model is in a comparison. The key of a model is its role, with a number from the second adapted one on."""

    BASE = "base"
    ADAPTED = "adapted"
    FEW_SHOT = "few-shot"
    CHAT = "chat"
    CONTEXT = "context"  # the base or the adapted model, with retrieved files before its prompts


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of a benchmark.

    Attributes:
        name: a folder or an id on the Hub.
        label: its name in tables.
        role: what it is in the comparison.
        kind: the form of an adapted model.
        revision: the commit, tag or branch on the Hub; None where it is not fixed.
        folder: where its files are on the machine of the run; "" for the base.
        validation_loss: the last of its training, in nats per token.
        run: the folder of the earlier run, if two runs are compared.
    """

    name: str
    label: str
    role: Role
    kind: Literal["adapter", "merged"] | None = None
    revision: str | None = None
    folder: str = ""
    validation_loss: float | None = None
    run: str | None = None


class GenerationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What can change a model's predictions besides model and prompts; it is part of the signature of every score.

    Attributes:
        decode: "greedy", or the parameters of nucleus sampling.
        stop: the stop condition of codefit/generation/stopping.py.
        new: most tokens of a prediction.
        prompt: most tokens of a prompt.
        by: the library that wrote the predictions, with its version.
        dtype: of the arithmetic; "nf4" for a model in 4 bits.
        device: "cpu" or "cuda".
        flips: "k/n": k of n predictions would change if they were decoded in other batches.
    """

    decode: str = "unknown"
    stop: str = "unknown"
    new: str = "unknown"
    prompt: str = "unknown"
    by: str = "unknown"
    dtype: str = "unknown"
    device: str = "unknown"
    flips: str = "unknown"


class Count(msgspec.Struct, frozen=True):
    """A count out of a number of predictions."""

    count: int
    of: int

    @property
    def share(self) -> float:
        """The count as a share from 0 to 1; 0 out of nothing."""
        return self.count / self.of if self.of else 0.0


class Cost(msgspec.Struct, frozen=True):
    """What one completion costs a model.

    Attributes:
        seconds: of all processors, for a prompt asked alone; a mean over a few prompts.
        prompt_tokens: a mean over all prompts.
        new_tokens: the same of what was written.
    """

    seconds: float
    prompt_tokens: float
    new_tokens: float


class Retrieval(msgspec.Struct, frozen=True, kw_only=True):
    """What was retrieved for the prompts of a benchmark.

    Attributes:
        tokens: most tokens of files before a prompt.
        prompts: how many prompts got files.
        found: of the names of the references that their prompts do not hold, those in the retrieved text.
        costs: what a completion costs, by model.
    """

    tokens: int
    prompts: int
    found: Count
    costs: dict[str, Cost]


class BenchmarkInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a benchmark before it is scored.

    Attributes:
        title: for the middle of a sentence.
        forgetting: whether it is the forgetting check.
        format: the module of codefit/evaluation/benchmarks that read it.
        decoding: how each model was asked, by model, as far as that is known.
        retrieval: the files before the prompts of two of the models; None where there are none.
    """

    title: str
    forgetting: bool = False
    format: Format = "pairs"
    decoding: dict[str, GenerationSettings] = {}
    retrieval: Retrieval | None = None


class Score(msgspec.Struct, frozen=True):
    """A value with its 95 % interval, in the unit of the metric."""

    value: float
    low: float
    high: float


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model minus the base on the same prompts, with its 95 % interval, in the unit of the metric.

    Attributes:
        p: two-sided; corrected for the number of secondary differences (Holm).
        smallest: the smallest true difference that these prompts would show in four of five experiments.
        verdict: of the tests; "no conclusion" of a model about which there are doubts.
        mcnemar_p: p of McNemar's exact test, for a metric of hits.
    """

    value: float
    low: float
    high: float
    p: float
    smallest: float
    verdict: Conclusion
    mcnemar_p: float | None = None


class MetricRow(msgspec.Struct, frozen=True):
    """One metric of a benchmark: the score of every model, and the difference of every other model to the base."""

    metric: str
    label: str
    unit: str
    higher_is_better: bool
    n: int
    signature: str
    scores: dict[str, Score]
    against_base: dict[str, Difference]


class Check(msgspec.Struct, frozen=True):
    """How many predictions end or fail in one way: of the references, and by model."""

    check: str
    label: str
    reference: Count
    counts: dict[str, Count]


class Baseline(msgspec.Struct, frozen=True):
    """What answers score that no model wrote, by metric."""

    baseline: str
    label: str
    values: dict[str, float]


class StopRule(msgspec.Struct, frozen=True):
    """The primary metric by model when one rule cuts all predictions."""

    rule: str
    label: str
    values: dict[str, float]


class AgainstBest(msgspec.Struct, frozen=True):
    """An adapted model against the base as the rule that suits the base best cuts it.

    `as_generated` leaves the adapted model's predictions as they are, `cut_alike` cuts them by the same rule.
    """

    as_generated: Difference
    cut_alike: Difference


class StopRules(msgspec.Struct, frozen=True):
    """The primary metric under every stop rule, and each adapted model against the base as it is cut best."""

    rules: list[StopRule]
    best: str
    against_base: dict[str, AgainstBest]

    @property
    def best_rule(self) -> StopRule:
        """The rule that suits the base best."""
        return next(rule for rule in self.rules if rule.rule == self.best)


class Group(msgspec.Struct, frozen=True):
    """The primary metric by model in one group of prompts; its verdicts are corrected as all secondary ones."""

    kind: str
    group: str
    n: int
    files: int
    values: dict[str, float]
    against_base: dict[str, Difference]


class AgainstFloor(msgspec.Struct, frozen=True):
    """An adapted model against the strongest answers that no model wrote, in the primary metric.

    Attributes:
        floor: the baseline.
        value: its value of the primary metric.
        difference: the adapted model minus the baseline.
    """

    floor: str
    value: float
    difference: Difference


class GridPlace(msgspec.Struct, frozen=True):
    """The four cells in all prompts, or in one kind of place.

    Attributes:
        place: the kind; "" for all prompts.
        n: prompts.
        files: that they come from.
        scores: the primary metric by model.
        differences: of every two models: the second minus the first. Corrected for their number (Holm).
    """

    place: str
    n: int
    files: int
    scores: dict[str, Score]
    differences: list[tuple[str, str, Difference]]

    def difference(self, one: str, other: str) -> Difference:
        """Return the second of two models minus the first, in the order of the cells."""
        return next(gap for first, second, gap in self.differences if (first, second) == (one, other))


class Grid(msgspec.Struct, frozen=True):
    """Base and adapted model, with and without retrieved files.

    Attributes:
        advice: what the verdicts say that a team should do.
        places: all prompts first, then the kinds of places.
        retrieval: what was retrieved, and what a completion costs.
    """

    advice: Advice
    places: list[GridPlace]
    retrieval: Retrieval


class Forgetting(msgspec.Struct, frozen=True):
    """What the forgetting check found, with its margin, in the unit of the metric that decided it."""

    verdict: ForgettingVerdict
    margin: float
    metric: str


class ProfileScores(msgspec.Struct, frozen=True):
    """The numbers of one profile by metric, of how many items, and how they were made.

    "honest" is unrounded; "compat" is what a benchmark's own code prints, with its rounding.
    """

    values: dict[str, float]
    n: int
    signatures: dict[str, str]


class BenchmarkResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one benchmark found about its models.

    Attributes:
        title: of the benchmark, for the middle of a sentence.
        n: prompts.
        files: that the prompts come from.
        task: that chose the metrics.
        decoding: how the models were asked, in one line; "" where it is not known.
        metrics: the primary metric first; all others are secondary, and their verdicts corrected for their number.
        checks: how predictions end, and what is wrong with them.
        baselines: floors, and the references themselves as the ceiling, last.
        stop_rules: the primary metric when predictions are cut afterwards.
        groups: the primary metric in groups of prompts.
        findings: sentences that a reader must know before believing the scores.
        doubts: by adapted model, those of them that leave no conclusion about it.
        floors: each adapted model against the strongest floor; {} where the primary metric is not one of texts.
        entropy: by model the mean entropy of the first token after the prompt, in bits; {} where it was not computed.
        forgetting: the verdict of the forgetting check; None for any other benchmark.
        compat: by model the numbers of the benchmark's own code; None where it has none.
        reference_names: of the names that the references bring in, those that exist in other files; None if unknown.
        grid: the models with and without retrieved files against each other; None where none were retrieved.
    """

    title: str
    n: int
    files: int
    task: str
    decoding: str
    metrics: list[MetricRow]
    checks: list[Check]
    baselines: list[Baseline]
    stop_rules: StopRules
    groups: list[Group]
    findings: list[str]
    doubts: dict[str, list[str]] = {}
    floors: dict[str, AgainstFloor] = {}
    entropy: dict[str, Score] = {}
    forgetting: Forgetting | None = None
    compat: dict[str, ProfileScores] | None = None
    reference_names: Count | None = None
    grid: Grid | None = None

    @property
    def headline(self) -> MetricRow:
        """The primary metric: the one that the verdict is about."""
        return self.metrics[0]


class Scores(msgspec.Struct, frozen=True):
    """The content of scores.json."""

    models: dict[str, Model]
    benchmarks: dict[str, BenchmarkResult]
    format: Literal[2]


def plain(value: Any) -> Any:
    """Return types of this module as what JSON knows; fields that have their default are left out."""
    return msgspec.to_builtins(value)


def write(scores: Scores, path: Path) -> None:
    """Write scores.json. What is no number stays NaN or Infinity, as Python's json reads it."""
    text = json.dumps(plain(scores), indent=1, ensure_ascii=False)
    write_whole(path, text + "\n")


def read(folder: Path) -> Scores:
    """Return the scores in the output folder of a benchmark.

    Raises:
        UserError: there are none, or they were written by an older codefit or changed by hand.
    """
    path = folder / FILE
    if not path.is_file():
        raise UserError(f"{folder} holds no {FILE}; name the --output_dir of benchmarking.py.")
    remedy = f"write it again with benchmarking.py --rescore --output_dir {folder}"
    content = json_files.load(path, remedy)
    if isinstance(content, dict) and "benchmarks" in content and "format" not in content:
        raise UserError(f"{path} was written by an older codefit; {remedy}.")
    scores = json_files.checked(content, Scores, str(path), remedy)
    adapted = {key for key, model in scores.models.items() if model.role is Role.ADAPTED}
    for result in scores.benchmarks.values():
        for row in result.metrics:
            if not (scores.models.keys() == row.scores.keys() and adapted <= row.against_base.keys()):
                raise UserError(f"{path}: the metric {row.metric} lacks the score of a model; {remedy}.")
    return scores


class RunArguments(msgspec.Struct, frozen=True):
    """What is read of the arguments of a run."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    split: str
    primary: str | None = None


class RunManifest(msgspec.Struct, frozen=True):
    """The fields read from the manifest of the run that made the predictions.

    Attributes:
        asked: the digest of each benchmark's questions; {} in a run of an older codefit.
        answered: the digest of each model's answers, by benchmark and model; {} in a run of an older codefit.
    """

    command: list[str]
    arguments: RunArguments
    versions: dict[str, str]
    models: dict[str, Model]
    benchmarks: dict[str, BenchmarkInfo]
    toolkit_commit: str | None
    dataset: str | None
    asked: dict[str, str] = {}
    answered: dict[str, dict[str, str]] = {}


def of_manifest(made: Mapping[str, Any], path: Path) -> RunManifest:
    """Return what is read of a run's manifest, written by this codefit or an older one.

    Args:
        made: the content of the manifest.
        path: of the manifest, for the sentence of an error.

    Raises:
        UserError: it does not describe a benchmark.
    """
    models = made.get("models")
    if isinstance(models, Mapping):
        made = {**made, "models": {key: _with_role(key, facts) for key, facts in models.items()}}
    found = json_files.checked(made, RunManifest, str(path), "run the benchmark again")
    if list(found.models)[:2] != [Role.BASE, Role.ADAPTED]:
        raise UserError(f"{path} does not name a base and an adapted model; run the benchmark again.")
    return found


def _with_role(key: str, facts: Any) -> Any:
    """Return what a manifest says of a model; an older codefit named the role of the few-shot base as its kind."""
    if not isinstance(facts, Mapping):
        return facts
    role = key if key in (Role.BASE, Role.FEW_SHOT, Role.CHAT) else Role.ADAPTED
    kind = facts.get("kind")
    return {"role": role, **facts, "kind": None if kind == Role.FEW_SHOT else kind}
