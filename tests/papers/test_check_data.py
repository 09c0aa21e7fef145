"""Data of a form of their own are refused before a run folder is made, and a good one is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from visionsmith.cli.app import app
from visionsmith.errors import DataError
from visionsmith.papers.c3.train import check_data as check_texts
from visionsmith.papers.swimbird.train import check_data as check_dialogues


@pytest.mark.parametrize("system", ["c3", "swimbird", "clip"])
def test_what_is_not_there_makes_no_run(system: str, tmp_path: Path) -> None:
    command = [
        "train",
        system,
        "--data",
        str(tmp_path / "absent.txt"),
        "--output",
        str(tmp_path / "run"),
        "--quiet",
    ]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, DataError)
    assert "absent.txt" in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_single_text_will_do(tmp_path: Path) -> None:
    book = tmp_path / "book.txt"
    book.write_text("It was a dark and stormy night.\n\n" * 100, encoding="utf-8")
    check_texts(book)
    with pytest.raises(DataError, match="is not a JSON list"):
        check_dialogues(book)
