"""Edit pairs: the built-in ones, and a user's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from visionsmith.data.world import KINDS as THINGS
from visionsmith.errors import DataError
from visionsmith.papers.icedit.arranged import PLACES, arranged_edit
from visionsmith.papers.icedit.edits import KINDS, EditWorld, builtin_world
from visionsmith.papers.icedit.sources import check_edits, open_edits


@pytest.fixture(scope="module")
def world() -> EditWorld:
    return builtin_world(64)


def test_every_kind_is_there_on_both_sides(world: EditWorld) -> None:
    assert set(world.train) == set(KINDS) == {pair.kind for pair in world.held_out}
    assert all(len(pairs) >= 200 for pairs in world.train.values())


def test_what_is_asked_later_is_never_shown(world: EditWorld) -> None:
    shown = set(world.shown)
    asked = [pair for pair in world.held_out if pair.kind != "colour"]
    assert not shown & {pair.target for pair in asked}
    assert all({pair.source, pair.target} <= shown for pairs in world.train.values() for pair in pairs)
    trained = {(pair.source, pair.target) for pair in world.train["colour"]}
    colours = {(pair.source, pair.target) for pair in world.held_out if pair.kind == "colour"}
    assert not trained & (colours | {(target, source) for source, target in colours})


def test_an_edit_changes_one_thing_and_says_it(world: EditWorld) -> None:
    for kind in ("skin", "gender", "hair"):
        for pair in world.train[kind][::97]:
            before, after = (world.captions[place].split(", ") for place in (pair.source, pair.target))
            assert before != after
            assert np.abs(world.pictures[pair.source].astype(int) - world.pictures[pair.target]).mean() > 0.5
    for pair in world.train["hair"][::31]:
        said = pair.instruction.split()[-2:]
        assert any(word in world.captions[pair.target] for word in said)
    for pair in world.train["skin"][::211]:
        tone = pair.instruction.removesuffix(" skin tone").split()[-1]
        assert (f"{tone} skin tone" in world.captions[pair.target]) or "yellow" in pair.instruction


def test_the_world_is_the_same_each_time(world: EditWorld) -> None:
    again = (
        arranged_edit("add", np.random.default_rng(4), 64),
        arranged_edit("add", np.random.default_rng(4), 64),
    )
    assert np.array_equal(again[0].after, again[1].after)
    assert again[0].instruction == again[1].instruction
    assert world.about["edits"]["add"] == len(world.train["add"])


@pytest.mark.parametrize("kind", ["add", "remove", "swap"])
def test_arrangements_differ_in_one_place(kind: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        edit = arranged_edit(kind, rng, 64)
        differs = np.abs(edit.before.astype(int) - edit.after).max(axis=2) > 0
        quarters = [differs[y : y + 32, x : x + 32].any() for y in (0, 32) for x in (0, 32)]
        assert sum(quarters) == 1
        where = PLACES[quarters.index(True)]
        counts = [caption.count(",") for caption in (edit.caption_before, edit.caption_after)]
        assert counts[1] - counts[0] == {"add": 1, "remove": -1, "swap": 0}[kind]
        caption = edit.caption_before if kind == "remove" else edit.caption_after
        changed = next(part for part in caption.split(", ") if part.endswith(where)).split()[0]
        assert changed in THINGS
        assert changed in edit.instruction


def test_a_table_is_read(table: Path) -> None:
    world = open_edits(table, size=32)
    assert world.pictures.shape == (48, 32, 32, 3)
    assert len(world.held_out) == 1
    assert sum(len(pairs) for pairs in world.train.values()) == 23
    pair = world.train["blue"][0]
    assert pair.instruction == "make the square blue"
    assert world.pictures[pair.target][16, 16].tolist() == pytest.approx([40, 80, 230], abs=12)


def test_parquet_is_read_in_the_columns_of_published_sets(table: Path, tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    picture = {"bytes": (table.parent / "red.png").read_bytes(), "path": None}
    other = {"bytes": (table.parent / "blue.png").read_bytes(), "path": None}
    omni = {"src_img": [picture] * 4, "edited_img": [other] * 4, "task": ["attribute"] * 4}
    omni["edited_prompt_list"] = [["make it blue", "another wording"]] * 4
    parquet.write_table(arrow.table(omni), tmp_path / "part.parquet")
    world = open_edits(tmp_path, size=16)
    assert world.train["attribute"][0].instruction == "make it blue"
    assert len(world.pictures) == 8


def test_bad_rows_are_left_out_and_counted(table: Path, tmp_path: Path) -> None:
    good = {
        "source": str(table.parent / "red.png"),
        "target": str(table.parent / "blue.png"),
        "instruction": "blue",
    }
    rows = [good, good, {**good, "target": "missing.png"}, {**good, "instruction": " "}]
    file = tmp_path / "edits.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert open_edits(file, size=16).about["left_out"] == 2


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("edits.csv", "source,instruction\na.png,red\n", "no column for the picture after"),
        ("edits.csv", "source,target,instruction\n", "no rows"),
        ("edits.jsonl", "[1]\n", "no {...}"),
        ("edits.jsonl", "{", "cannot be read"),
        ("edits.txt", "hello", "neither a table nor a Parquet file"),
    ],
)
def test_other_data_get_a_sentence(tmp_path: Path, name: str, content: str, says: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=says):
        check_edits(tmp_path / name)


def test_data_without_a_picture_name_the_first_problem(tmp_path: Path) -> None:
    (tmp_path / "edits.csv").write_text("source,target,instruction\na.png,b.png,red\n", encoding="utf-8")
    with pytest.raises(DataError, match="row 1"):
        open_edits(tmp_path / "edits.csv", size=16)
    with pytest.raises(DataError, match="no such"):
        open_edits(tmp_path / "none.csv", size=16)
