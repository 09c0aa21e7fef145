import math

import numpy as np
import pytest
from rich.console import Console

from visionsmith.report.tables import (
    aligned,
    cell_texts,
    count,
    markdown,
    numeric_columns,
    percent,
    rich_table,
    short,
)


def test_count_and_percent():
    assert count(151277313) == "151,277,313"
    assert count(0) == "0"
    assert percent(0.727) == "72.7 %"
    assert percent(0.0003, digits=2) == "0.03 %"
    assert percent(math.nan) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20000, "20,000"),
        (0.5, "0.5"),
        (5e-5, "5e-5"),
        (0.1 + 0.2, "0.3"),
        (-0.0, "0"),
        (3e8, "3e8"),
        (0, "0"),
    ],
)
def test_short_numbers(value, text):
    assert short(value) == text


@pytest.mark.parametrize("value", [0.0004, 5e-4, 12.5, 1234567, 2.5e-9, -0.75])
def test_short_numbers_say_the_same(value):
    assert float(short(value).replace(",", "")) == pytest.approx(value, rel=5e-3)


def test_floats_of_a_column_share_their_decimals():
    texts = [row[0] for row in cell_texts(["top-1"], [[0.727], [0.0003], [0.5], [math.nan], [None]])]
    assert texts == ["0.7270", "0.0003", "0.5000", "–", "–"]
    assert len({len(text.partition(".")[2]) for text in texts[:3]}) == 1


def test_a_small_value_is_not_rounded_to_nothing():
    (large,), (small,) = cell_texts(["v"], [[9876.5], [1e-5]])
    assert float(small) == pytest.approx(1e-5)
    assert float(large.replace(",", "")) == pytest.approx(9876.5, rel=1e-2)


def test_cells_by_type():
    row = [1234, "2026", True, np.bool_(False), None, np.float32(0.5), np.int64(7), 3.0, math.inf]
    assert cell_texts(["c"] * 9, [row]) == [
        ["1,234", "2026", "yes", "no", "–", "0.5000", "7", "3", "inf"],
    ]


def test_a_row_of_another_length_is_refused():
    with pytest.raises(AssertionError, match="row 1 has 1 cells for 2 columns"):
        cell_texts(["a", "b"], [[1, 2], [1]])


@pytest.mark.parametrize(
    ("cell", "numeric"),
    [
        (1, True),
        (0.5, True),
        ("72.7 %", True),
        ("1,234", True),
        ("53.1 ± 0.4 %", True),
        ("< 0.1", True),
        ("2.8M", True),
        ("350 images/s", True),
        ("−3.5", True),
        ("5e-4", True),
        (True, False),
        ("16 of 20", False),
        ("2026-01-02", False),
        ("ViT-B/32", False),
        ("1.3 to 1.5", False),
        ("x", False),
    ],
)
def test_which_cells_are_numbers(cell, numeric):
    assert numeric_columns(["c"], [[cell], [None]]) == [numeric]


def test_a_column_without_a_value_is_not_numeric():
    assert numeric_columns(["a", "b"], [[None, 1], ["", 2]]) == [False, True]
    assert numeric_columns(["a"], []) == [False]


def test_markdown():
    assert markdown(["System", "Top-1"], [["clip | tiny", 0.727], ["chance", 0.0003]]) == (
        "| System       |  Top-1 |\n"
        "| ------------ | -----: |\n"
        "| clip \\| tiny | 0.7270 |\n"
        "| chance       | 0.0003 |\n"
    )


def test_markdown_keeps_a_cell_on_its_line():
    lines = markdown(["a"], [["two\nlines"]]).splitlines()
    assert len(lines) == 3
    assert lines[2] == "| two lines |"


def test_aligned_percentages():
    assert aligned([0.5, 0.0003], as_percent=True) == ["50.00 %", "0.03 %"]
    assert aligned([0.5, 0.25], as_percent=True) == ["50.0 %", "25.0 %"]


def test_rich_table_shows_text_as_it_is_and_sets_numbers_right():
    console = Console(width=60, no_color=True)
    with console.capture() as capture:
        console.print(rich_table(["name", "value"], [["[red]x[/red]", 5], ["y", 1234]], title="[b]title"))
    lines = capture.get().splitlines()
    assert "[b]title" in lines[0]
    (hostile,) = [line for line in lines if "[red]x[/red]" in line]
    (other,) = [line for line in lines if "1,234" in line]
    assert hostile.rstrip().endswith("    5")
    assert len(hostile.rstrip()) == len(other.rstrip())
