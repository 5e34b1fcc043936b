"""Checks that predictions can be compared: same prompts, no duplicates, valid numbers, same generation settings."""

import collections
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from codefit.errors import UserError
from codefit.evaluation import comparison, leak_signs, prompt_groups
from codefit.evaluation.result_schema import WITH_CONTEXT, GenerationSettings, Role
from codefit.records import Prediction
from codefit.scoring.internal_names import NEW, REFERENCE_NEW, REFERENCE_RIGHT, RIGHT
from codefit.scoring.pass_rate import CUT_PASS_RATE, PASS_RATE

# Scores that are not computed from texts.
MEASURED = (
    *("nats", "tokens", comparison.ENTROPY, leak_signs.IN_TRAINING, prompt_groups.NOT_IN_TRAINING),
    *(PASS_RATE.name, CUT_PASS_RATE.name, NEW, RIGHT, REFERENCE_NEW, REFERENCE_RIGHT),
)
FREE = ("by", "device")  # settings of decoding that may differ without a flag; a comparison still says so


def digest(items: Sequence[Prediction]) -> str:
    """Return a hash of the ids, prompts and references."""
    asked = [(item.id, item.prompt, item.suffix, item.reference) for item in items]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()


def predictions_digest(items: Sequence[Prediction]) -> str:
    """Return a hash of one model's rows, without the scores that --rescore computes."""
    rows = []
    for item in items:
        measured = {name: float(item.scores[name]) for name in MEASURED if name in item.scores}
        rows.append([*(getattr(item, name) for name in item.__slots__ if name != "scores"), measured])
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def check(
    by_file: Mapping[Path, Sequence[Prediction]], asked: str | None, answered: Mapping[Path, str] | None = None
) -> None:
    """Refuse predictions of one benchmark that cannot be compared.

    Args:
        by_file: the predictions of each model, the base first.
        asked: the digest of the prompts in the manifest; None in a run of an older codefit.
        answered: the digests of the predictions in the manifest, by file.

    Raises:
        UserError: rows are duplicate, missing or changed, prompts or references differ, or a number is invalid.
    """
    (first, base), *_ = by_file.items()
    for path, items in by_file.items():
        _check_ids(path, [item.id for item in items], first, [item.id for item in base])
        for item, other in zip(items, base, strict=True):
            if (item.prompt, item.suffix, item.reference) != (other.prompt, other.suffix, other.reference):
                raise UserError(
                    f"{first} and {path} have another prompt or reference for {item.id}; run the benchmark again."
                )
            _check_numbers(path, item, other)
    if asked and digest(base) != asked:
        raise UserError(f"{first} has other prompts or references than the manifest says; run the benchmark again.")
    for path, known in (answered or {}).items():
        if predictions_digest(by_file[path]) != known:
            raise UserError(
                f"{path} was changed after the run (answers, token counts or likelihoods); run the benchmark again."
            )


def _check_ids(path: Path, ids: Sequence[str], first: Path, base: Sequence[str]) -> None:
    (doubled, times), *_ = collections.Counter(ids).most_common(1) or [("", 0)]
    if times > 1:
        raise UserError(f"{path} holds {doubled} twice; run the benchmark again.")
    if not ids or list(ids) != list(base):
        raise UserError(f"{first} and {path} do not hold the same items; run the benchmark again.")


def _check_numbers(path: Path, item: Prediction, base: Prediction) -> None:
    for name in ("nats", "tokens"):
        value = item.scores.get(name, 0.0)
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise UserError(f"{path} holds {value} as {name} of {item.id}; run the benchmark again.")
    if {"nats", "tokens"} & item.scores.keys() and item.scores.get("tokens") != base.scores.get("tokens"):
        raise UserError(
            f"{path} counts {item.scores.get('tokens')} tokens in the reference of {item.id}, and the base "
            f"{base.scores.get('tokens')}; run the benchmark again."
        )


def refuse_different(decoding: Mapping[str, GenerationSettings], where: str, allow: bool) -> None:
    """Refuse models whose predictions were generated with different settings, unless that is allowed.

    Raises:
        UserError: decoding, stop condition, lengths or dtype differ.
    """
    for key in [] if allow else decoding:
        differ = [name for name in comparison.differing_settings(decoding, key) if name not in FREE]
        if differ and key not in {Role.FEW_SHOT, *WITH_CONTEXT.values()}:
            values = (", ".join(f"{name} {getattr(decoding[each], name)}" for name in differ) for each in ("base", key))
            raise UserError(
                f"{where} was generated with different settings ({' and '.join(values)}), so part of a difference may "
                "come from that; generate again with the same settings, or add --allow_different."
            )
