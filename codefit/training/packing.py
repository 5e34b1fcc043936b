"""Packing samples into rows, and collating rows into the tensors of a batch."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch

from codefit import encoding
from codefit.encoding import Sample
from codefit.training import curriculum


class PackedRows(torch.utils.data.Dataset[list[Sample]]):
    """Samples packed into rows of equal length. An item is the list of samples of a row.

    Without a curriculum the items are the rows, which the Trainer shuffles in every epoch; with one they are the rows
    of the whole run in their order. A model in which packed samples would attend to each other (`isolates` is False)
    gets one sample per row.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        row_tokens: int,
        pad_id: int,
        plan: curriculum.CurriculumPlan | None = None,
        *,
        isolates: bool = True,
    ) -> None:
        self.samples = samples
        self.row_tokens = row_tokens
        self.pad_id = pad_id
        self.isolates = isolates
        self.weighted = any(sample.weights != encoding.UNWEIGHTED for sample in samples)
        lengths = [len(sample.ids) if isolates else row_tokens for sample in samples]
        self.visits: list[int] | None = None
        if plan:
            self.rows, self.visits = plan(lengths, row_tokens)
        else:
            self.rows = encoding.pack(lengths, row_tokens)

    def __len__(self) -> int:
        return len(self.rows if self.visits is None else self.visits)

    def __getitem__(self, index: int) -> list[Sample]:
        return [self.samples[i] for i in self.rows[index if self.visits is None else self.visits[index]]]

    def tokens_in(self, epochs: float) -> int:
        """Return how many tokens are trained in passes over the items, about."""
        each = sum(len(sample.ids) for sample in self.samples) / max(1, len(self.rows))
        return round(epochs * len(self) * each)

    def fill_up(self, multiple: int) -> None:
        """Add empty rows up to a multiple: processes that share rows would otherwise see some rows twice."""
        self.rows += [[] for _ in range(-len(self.rows) % multiple)]

    @property
    def label_bytes(self) -> int:
        """Number of UTF-8 bytes of the text with labels, for bits per byte."""
        return sum(sample.nbytes for sample in self.samples)


def names_in(batch: Mapping[str, torch.Tensor], samples: Iterable[Sample]) -> list[str]:
    """Return the sources of the samples in a batch. They are found by their tokens, so that a step carries no names.

    Args:
        batch: `input_ids` and `position_ids` of the Collator, int64, shape (rows, width).
        samples: all training samples.
    """
    known = {sample.ids.astype(np.int64).tobytes(): sample.source for sample in samples}
    found = []
    for ids, positions in zip(batch["input_ids"].cpu().numpy(), batch["position_ids"].cpu().numpy(), strict=True):
        pieces = np.split(ids, np.flatnonzero(positions == 0)[1:])
        found += [known[piece.tobytes()] for piece in pieces if piece.tobytes() in known]
    return list(dict.fromkeys(found))


class Collator:
    """Makes the tensors of a batch of rows.

    The rows of the data set only determine which samples form a batch: unless `fixed`, the samples of a batch are
    packed again into rows of the width that costs least. The sum of the losses is the same.
    """

    def __init__(self, dataset: PackedRows, hidden_size: int, fixed: bool = False) -> None:
        self.row_tokens, self.pad_id = dataset.row_tokens, dataset.pad_id
        self.isolates = dataset.isolates
        self.weighted = dataset.weighted
        self.hidden_size = hidden_size
        self.fixed = fixed

    def __call__(self, rows: list[list[Sample]]) -> dict[str, torch.Tensor]:
        """Return int64 tensors of shape (rows, width): input_ids, position_ids, and labels that are already shifted.

        Where samples have weights of their own, there are also `weights` of the labels, float32.
        """
        width = self.row_tokens
        if not self.fixed:
            samples = [sample for row in rows for sample in row]
            lengths = [len(sample.ids) for sample in samples]
            if self.isolates:
                width, places = encoding.arrange(lengths, width, self.hidden_size)
                rows = [[samples[i] for i in place] for place in places] or [[]]
            else:
                width, rows = max(lengths, default=1), [[sample] for sample in samples] or [[]]
        arrays = [encoding.lay_out(row, width, self.pad_id) for row in rows]
        batch = {name: torch.from_numpy(np.stack([array[name] for array in arrays])) for name in arrays[0]}
        batch["shift_labels"] = batch["labels"]
        if not self.weighted:
            del batch["weights"]
        return batch
