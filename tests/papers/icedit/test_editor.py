"""An editor: what it is made of, how it is trained, and what a user does with it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from visionsmith.checkpoint import read
from visionsmith.cli.app import app
from visionsmith.errors import CheckpointError, ConfigError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.icedit import (
    AdapterConfig,
    EarlyFilter,
    Editor,
    NearestJudge,
    TransformerConfig,
    adapter_for,
    export,
    load_editor,
    load_filler,
    tournament,
)
from visionsmith.papers.icedit import evaluate as evaluation
from visionsmith.papers.icedit.checkpoints import parts_of
from visionsmith.papers.icedit.editor import working_size
from visionsmith.papers.icedit.recipes import EditRecipe, filler, tiny
from visionsmith.papers.icedit.run import _differences
from visionsmith.papers.icedit.train import train


def _small(**changes: object) -> EditRecipe:
    """`tiny` with a transformer of a few thousand parameters, two steps each."""
    sizes = TransformerConfig(
        heads=2,
        head_width=16,
        rotary=(4, 6, 6),
        dual=1,
        single=1,
        text_width=8,
        pooled_width=8,
        guidance=False,
    )
    recipe, first = tiny(), filler()
    stage = dataclasses.replace(first.train.stages[0], steps=2)
    short = dataclasses.replace(first.train, stages=(stage,), batch_size=4, save_every=1, precision="fp32")
    return dataclasses.replace(
        recipe,
        adapter=AdapterConfig(rank=4, alpha=4.0, experts=2),
        train=dataclasses.replace(
            recipe.train, steps=2, batch_size=4, save_every=1, evaluate_every=2, precision="fp32"
        ),
        train_filler=dataclasses.replace(first, transformer=sizes, train=short),
        **changes,
    )


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training of two runs on the edits of the table."""
    return train(_small(), data=table, output=tmp_path_factory.mktemp("icedit") / "run", progress=False)


@pytest.fixture(scope="module")
def editor(trained: Path) -> Editor:
    return load_editor(trained)


def _pictures(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def test_a_training_leaves_the_filler_as_it_was(trained: Path) -> None:
    before, after = load_filler(trained.parent / "filler" / "model")[0], load_filler(trained)[0]
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name
    found = read(trained, paper="icedit")
    assert found.config["template"] == tiny().template
    updates = [value for name, value in found.tensors().items() if ".lora_B." in name]
    assert any(value.abs().max() > 0 for value in updates)
    assert (trained.parent / "report.html").is_file()


def test_a_named_filler_is_used(trained: Path, table: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(_small(), filler=str(trained), train_filler=None)
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, evaluate_every=0))
    again = train(recipe, data=table, output=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "filler").exists()
    state = load_filler(again)[0].state_dict()
    assert all(
        torch.equal(value, state[name]) for name, value in load_filler(trained)[0].state_dict().items()
    )


def test_a_seed_gives_the_same_edit_alone_and_in_a_batch(editor: Editor) -> None:
    pictures = _pictures(3)
    texts = ["make it red", "make it blue", "make it green"]
    together = editor.edit(pictures, texts, seeds=[5, 6, 7], steps=3)
    alone = editor.edit(pictures[1:2], texts[1:2], seeds=[6], steps=3)
    assert together.shape == (3, 64, 64, 3)
    assert np.abs(together[1].astype(int) - alone[0]).max() <= 1
    other = editor.edit(pictures[1:2], texts[1:2], seeds=[8], steps=3)
    assert np.abs(other.astype(int) - alone).max() > 1


def test_pictures_keep_their_shape(editor: Editor) -> None:
    assert working_size(300, 200, 64, 8) == (80, 56)
    assert editor.edit(_pictures(1, 300, 200), ["make it red"], steps=2).shape == (1, 80, 56, 3)


def test_the_winner_goes_on_from_where_it_is(editor: Editor) -> None:
    """The edit of a filter is the plain edit of the seed that won, and costs M m + n - m evaluations."""
    (picture,) = _pictures(1)
    plain = editor.edit([picture] * 3, ["make it red"] * 3, seeds=[4, 5, 6], steps=6)
    calls: list[int] = []
    hook = editor.parts.transformer.register_forward_hook(
        lambda module, given, options, found: calls.append(len(options["timestep"]) // 2), with_kwargs=True
    )
    early = EarlyFilter(NearestJudge(plain[1]), candidates=3, steps=2)
    chosen = editor.edit([picture], ["make it red"], seeds=[4], steps=6, early=early)
    hook.remove()
    assert calls == [3, 3, 1, 1, 1, 1]
    assert sum(calls) == early.evaluations(6) == 10
    nearest = int(np.abs(plain.astype(int) - chosen[0]).mean(axis=(1, 2, 3)).argmin())
    assert np.abs(plain[nearest].astype(int) - chosen[0]).max() <= 1


def test_a_tournament_has_one_comparison_fewer_than_edits() -> None:
    pictures = [np.full((4, 4, 3), value, np.uint8) for value in (9, 3, 200, 2, 90)]
    asked: list[tuple[int, int]] = []

    class Counting(NearestJudge):
        def second_wins(
            self, source: np.ndarray, instruction: str, first: np.ndarray, second: np.ndarray
        ) -> bool:
            asked.append((int(first[0, 0, 0]), int(second[0, 0, 0])))
            return super().second_wins(source, instruction, first, second)

    assert tournament(Counting(np.zeros((4, 4, 3), np.uint8)), pictures[0], "", pictures) == 3
    assert asked == [(9, 3), (3, 200), (3, 2), (2, 90)]


def test_scale_zero_is_the_filler(editor: Editor, trained: Path) -> None:
    assert editor.attached is not None
    plain = Editor(parts_of(*load_filler(trained)), template=editor.template)
    picture = _pictures(1)
    wanted = plain.edit(picture, ["make it red"], steps=3)
    editor.attached.scale = 0.0
    try:
        assert np.array_equal(editor.edit(picture, ["make it red"], steps=3), wanted)
        # After two steps of training the updates are small.
        editor.attached.scale = 100.0
        assert not np.array_equal(editor.edit(picture, ["make it red"], steps=3), wanted)
    finally:
        editor.attached.scale = 1.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 0}, "steps = 0"),
        ({"guidance": -1.0}, "guidance = -1"),
        ({"instructions": [" "]}, "instruction is empty"),
        (
            {"early": EarlyFilter(NearestJudge(np.zeros((64, 64, 3), np.uint8)), steps=4), "steps": 4},
            "as many steps",
        ),
    ],
)
def test_settings_out_of_range_get_a_sentence(editor: Editor, changes: dict[str, object], says: str) -> None:
    settings = {"instructions": ["make it red"], "steps": 3, **changes}
    with pytest.raises(ConfigError, match=says):
        editor.edit(_pictures(1), **settings)  # type: ignore[arg-type]


def test_recipes_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"no \{instruction\}"):
        dataclasses.replace(tiny(), template="make it so")
    with pytest.raises(ConfigError, match="no filler"):
        dataclasses.replace(tiny(), train_filler=None)
    with pytest.raises(ConfigError, match="experts = 1"):
        AdapterConfig(experts=1)


def test_an_adapter_alone_needs_a_model(trained: Path, editor: Editor, tmp_path: Path) -> None:
    assert editor.adapter is not None
    save_file(export(editor.adapter), tmp_path / "mine.safetensors")
    with pytest.raises(CheckpointError, match="--base"):
        load_editor(tmp_path / "mine.safetensors")
    again = load_editor(tmp_path / "mine.safetensors", base=trained, template=editor.template)
    picture = _pictures(1)
    assert np.array_equal(
        again.edit(picture, ["make it red"], steps=2), editor.edit(picture, ["make it red"], steps=2)
    )


def test_another_pipeline_is_named(editor: Editor, tmp_path: Path) -> None:
    assert editor.adapter is not None
    save_file(export(editor.adapter), tmp_path / "mine.safetensors")
    (tmp_path / "base").mkdir()
    index = tmp_path / "base" / "model_index.json"
    for kind, says in (
        ("StableDiffusionPipeline", "not a FluxFillPipeline"),
        ("FluxFillPipeline", "vae has no weights"),
    ):
        index.write_text(json.dumps({"_class_name": kind}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=says):
            load_editor(tmp_path / "mine.safetensors", base=tmp_path / "base")


def test_a_converted_adapter_is_the_published_one(trained: Path, tmp_path: Path) -> None:
    file, made = tmp_path / "theirs.safetensors", tmp_path / "made"
    adapter = adapter_for(load_filler(trained)[0].transformer, AdapterConfig(rank=2, alpha=6.0, experts=3))
    for value in adapter.parameters():
        torch.nn.init.normal_(value)
    save_file(export(adapter), file)
    converted = CliRunner().invoke(app, ["convert", "official", "icedit", str(file), str(made)])
    assert converted.exit_code == 0, converted.output
    with pytest.raises(CheckpointError, match="--base"):
        load_editor(made)
    with pytest.raises(CheckpointError, match="no filler"):
        load_filler(made)
    picture = _pictures(1)
    edits = [
        load_editor(source, base=trained).edit(picture, ["make it red"], steps=2) for source in (file, made)
    ]
    plain = load_editor(trained).edit(picture, ["make it red"], steps=2)
    assert np.array_equal(*edits)
    assert not np.array_equal(edits[0], plain)


def test_evaluation_measures_edits_beside_doing_nothing(
    trained: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("STEPS", 3), ("FEW", 1), ("EARLY", 1), ("CANDIDATES", 2)):
        monkeypatch.setattr(evaluation, name, few)
    found = evaluation.evaluate(checkpoint=trained, data=table, progress=False)
    assert found["edits"] == 1
    assert found["source"]["all"]["followed"] == 0, "an edit that changes nothing follows nothing"
    assert found["source"]["all"]["kept"] == 0
    assert found["ceiling"]["all"]["l1"] < found["source"]["all"]["l1"]
    assert found["filler"]["all"]["l1"] > 0
    assert found["early"]["evaluations"] == {"none": 3, "filter": 4}
    assert found["early"]["truth"]["l1"] <= found["early"]["none"]["l1"] + 0.01
    assert all(sum(shares) == pytest.approx(1) for shares in found["experts"].values())


def test_the_command_writes_an_edit_and_a_sheet(trained: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "me.png", _pictures(1, 40, 64)[0])
    said = ["run", "icedit", str(tmp_path / "me.png"), "--checkpoint", str(trained), "--steps", "3"]
    asked = [
        *said,
        "--instruction",
        "make it red",
        "--count",
        "2",
        "--output",
        str(tmp_path / "out.png"),
        "--json",
    ]
    found = CliRunner().invoke(app, asked)
    assert found.exit_code == 0, found.output
    rows = json.loads(found.stdout)["edits"]
    assert [read_image(Path(row["file"])).shape for row in rows] == [(48, 80, 3)] * 2
    assert (tmp_path / "out-beside.png").is_file()
    for extra, says in (
        ([], "no instruction"),
        (["--instruction", "red", "--candidates", "3"], "one judge"),
        (["--instruction", "red", "--template", "x"], "no {instruction}"),
        (["--instruction", "red", "--output", "out.jpg"], "no name of a PNG"),
    ):
        failed = CliRunner().invoke(app, [*said, *extra])
        assert says in str(failed.exception)


def test_where_an_edit_differs_is_red() -> None:
    before = np.full((4, 4, 3), (0, 90, 200), np.uint8)
    after = before.copy()
    after[1, 2] = (255, 90, 200)
    after[3, 3] += 10
    shown = _differences(before, after).astype(int)
    assert shown[1, 2].tolist() == [214, 39, 40]
    rest = np.delete(shown.reshape(-1, 3), 1 * 4 + 2, axis=0)
    assert (rest == rest[0, 0]).all(), "elsewhere gray, also where the autoencoder alone changed something"
    assert rest.min() > 150
