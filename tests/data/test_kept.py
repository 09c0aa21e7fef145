"""What is computed of every item once: batches, the file, and when it is not believed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from visionsmith.data.kept import compute_once


class Squares:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, part: Sequence[int]) -> dict[str, Tensor]:
        self.asked.append(list(part))
        values = torch.tensor(list(part))
        return {"square": values**2, "pair": torch.stack((values, -values), dim=1)}

    def of(self, items: Sequence[int], file: Path | None) -> dict[str, Tensor]:
        return compute_once(
            items, self, title="squares", batch=2, file=file, mark=torch.tensor(list(items)), progress=False
        )


def test_batches_are_joined_in_order() -> None:
    squares = Squares()
    found = squares.of([3, 1, 2], None)
    assert squares.asked == [[3, 1], [2]]
    assert found["square"].tolist() == [9, 1, 4]
    assert found["pair"].tolist() == [[3, -3], [1, -1], [2, -2]]


def test_a_file_is_read_again_for_the_same_items_alone(tmp_path: Path) -> None:
    squares, file = Squares(), tmp_path / "kept.safetensors"
    first = squares.of([3, 1, 2], file)
    again = squares.of([3, 1, 2], file)
    assert len(squares.asked) == 2
    assert first.keys() == again.keys() == {"square", "pair"}
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    # Others, the same in another order, and fewer.
    for items in ([3, 1, 5], [1, 3, 2], [3, 1]):
        assert squares.of(items, file)["square"].tolist() == [item**2 for item in items]
    assert len(squares.asked) == 2 + 2 + 2 + 1


def test_another_file_in_its_place_is_replaced(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "kept.safetensors"
    save_file({"records": torch.tensor([3, 1]), "latents": torch.zeros(2)}, file)
    squares = Squares()
    assert squares.of([3, 1], file)["square"].tolist() == [9, 1]
    squares.of([3, 1], file)
    assert len(squares.asked) == 1
