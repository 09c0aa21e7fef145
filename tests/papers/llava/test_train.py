"""Training: stages, what learns in each, kept features, resuming, a user's own data, low rank."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from typer.testing import CliRunner

from tests.papers.llava.conftest import random_llava, small
from visionsmith.cli.app import app
from visionsmith.config import override
from visionsmith.data.sampler import RankBatches
from visionsmith.data.world import NEW_PAIRS, draw, make_scene
from visionsmith.errors import CheckpointError, ConfigError, DataError, OutputError
from visionsmith.losses.language import IGNORED
from visionsmith.papers.llava import parts, stages
from visionsmith.papers.llava.assistant import Assistant, layout_of
from visionsmith.papers.llava.features import SeenDataset, seen_store, tower_digest
from visionsmith.papers.llava.objective import AnswerObjective
from visionsmith.papers.llava.recipes import LlavaRecipe, tiny
from visionsmith.papers.llava.run import load
from visionsmith.papers.llava.samples import ConversationCollate, ConversationDataset
from visionsmith.papers.llava.sources import WorldCaptions, WorldConversations
from visionsmith.papers.llava.stages import StagePlan
from visionsmith.papers.llava.train import train


def quick(**settings: object) -> LlavaRecipe:
    """The recipe `tiny` with parts and stages of a few steps."""
    steps = ["tower_recipe.train.steps=2", "language_recipe.train.steps=2", "pictures=8", "words=320"]
    sizes = [
        "tower_recipe.model.image_size=36", "tower_recipe.model.width=16", "tower_recipe.model.hidden=16",
        "tower_recipe.model.layers=2", "tower_recipe.model.heads=2", "tower_recipe.text_width=16",
        "language_recipe.model.width=16", "language_recipe.model.hidden=16", "language_recipe.model.heads=2",
        "language_recipe.model.layers=1",
    ]  # fmt: skip
    batches = ["tower_recipe.train.batch_size=2", "language_recipe.train.batch_size=2", "train.batch_size=4"]
    stages = [
        "train.stages.0.steps=2",
        "train.stages.1.steps=1",
        "train.stages.2.steps=3",
        "train.save_every=1",
    ]
    more = [f"{name}={value}" for name, value in settings.items()]
    return override(tiny(), [*steps, *sizes, *batches, *stages, "train.log_every=1", *more])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp("llava") / "run"
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        train(quick(), data=None, output=run, progress=False)
    return run


def few(patch: pytest.MonkeyPatch) -> None:
    """Measure with few questions."""
    patch.setattr(parts, "ASKED", 2)
    patch.setattr(parts, "PROBED", 90)
    patch.setattr(stages, "ASKED", 2)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch)


def test_a_run_makes_all_parts_and_answers(finished: Path) -> None:
    assert {folder.name for folder in finished.iterdir()} >= {
        "tower",
        "language",
        "features",
        "model",
        "report.html",
    }
    card = json.loads((finished / "model" / "card.json").read_text())
    assert set(card["data"]["tower"]["measured"]) == {"kind", "empty", "colour", "size", "place"}
    assert "exact" in card["measured"]
    stages = [json.loads(line).get("stage") for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [stage for stage in stages if stage] == ["align"] * 2 + ["read"] + ["instruct"] * 3
    assert isinstance(load(finished / "model").ask(draw(make_scene(np.random.default_rng(0))), "What?"), str)


def test_each_stage_trains_what_it_names(finished: Path) -> None:
    tower = load_file(finished / "tower" / "model" / "model.safetensors")
    words = load_file(finished / "language" / "model" / "model.safetensors")
    states = sorted((finished / "checkpoints").glob("step-*"))
    model = load_file(finished / "model" / "model.safetensors")
    for name, value in tower.items():
        torch.testing.assert_close(model[f"vision.{name}"].float(), value.float(), atol=1e-3, rtol=1e-3)
    moved = [
        not torch.equal(model[f"language.{name}"], value.half())
        for name, value in words.items()
        if value.ndim > 1
    ]
    assert all(moved)
    assert states, "and states to resume from stay"


def test_the_first_stage_leaves_the_language_model_alone(finished: Path, tmp_path: Path) -> None:
    settings = override(
        quick(), {"tower": str(finished / "tower/model"), "language": str(finished / "language/model")}
    )
    alone = override(
        settings, {"train": {"stages": [{"name": "align", "steps": 2, "trainable": ["*projector*"]}]}}
    )
    made = train(alone, data=None, output=tmp_path / "run", progress=False)
    words, model = (load_file(path / "model.safetensors") for path in (finished / "language/model", made))
    for name, value in words.items():
        torch.testing.assert_close(model[f"language.{name}"], value.half() if value.ndim > 1 else value)
    assert not (tmp_path / "run" / "tower").exists(), "a part that is named is not made"


def test_interrupted_and_resumed_ends_with_the_same_bits(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "model")
    for folder in sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[1:]:
        shutil.rmtree(folder)
    train(quick(), data=None, output=tmp_path / "run", resume=True, progress=False)
    before, after = (
        (root / "model" / "model.safetensors").read_bytes() for root in (finished, tmp_path / "run")
    )
    assert before == after


def test_kept_features_are_what_the_tower_sees(words: Tokenizer, tmp_path: Path) -> None:
    source = WorldCaptions(70, 36, 0)
    llava = random_llava(small(vision=dataclasses.replace(small().vision, image_size=36)))
    layout = layout_of(llava.config, words, template="plain")
    store = seen_store(llava, source, tmp_path)
    looked, seen = ConversationDataset(source, layout), SeenDataset(source, layout, store)
    collate = ConversationCollate(3)
    keys = [(0, 3), (1, 69), (2, 64)]
    fresh, kept = collate([looked[key] for key in keys]), collate([seen[key] for key in keys])
    assert torch.equal(fresh["ids"], kept["ids"])
    objective = AnswerObjective(llava)
    for name, value in objective(fresh).items():
        torch.testing.assert_close(objective(kept)[name], value, atol=2e-3, rtol=2e-3)
    assert (tmp_path / f"seen-{tower_digest(llava)}-70.records").is_dir()
    assert tower_digest(random_llava(llava.config, seed=1)) != tower_digest(llava)


def test_micro_batches_have_the_gradient_of_the_whole(words: Tokenizer) -> None:
    llava = random_llava(small(vision=dataclasses.replace(small().vision, image_size=36)))
    data = ConversationDataset(WorldConversations(tiny().mix, 36, 0), layout_of(llava.config, words))
    samples = [data[0, index] for index in range(6)]
    collate, objective = ConversationCollate(3), AnswerObjective(llava, chunk=7)
    whole = AnswerObjective(llava)(collate(samples))
    whole["loss"].backward()
    wanted = llava.projector.weight.grad.clone()
    llava.zero_grad()
    parts = [collate(samples[:1]), collate(samples[1:])]
    counts = sum(objective.counts(part) for part in parts)
    losses = [objective(part, counts) for part in parts]
    for loss in losses:
        loss["loss"].backward()
    torch.testing.assert_close(losses[0]["loss"] + losses[1]["loss"], whole["loss"])
    torch.testing.assert_close(llava.projector.weight.grad, wanted, atol=1e-6, rtol=1e-4)


def test_stage_plan_gives_each_step_its_stage() -> None:
    plan = StagePlan([10, 7], [5, 4], 4, seed=0)
    assert len(plan) == 9
    batches = iter(RankBatches(plan))
    seen: list[list[tuple[int, tuple[int, int]]]] = [
        [plan.place(row) for _, row in next(batches)] for _ in range(9)
    ]
    assert [{stage for stage, _ in batch} for batch in seen] == [{0}] * 5 + [{1}] * 4
    first = [key for batch in seen[:5] for _, key in batch]
    assert len(set(first)) == 20, "every epoch of a stage has keys of its own"
    assert {epoch for epoch, _ in first} == {0, 1, 2}
    assert all(index < 10 for _, index in first)
    assert all(index < 7 for batch in seen[5:] for _, (_, index) in batch)


def own_data(folder: Path, rows: list[dict]) -> Path:
    (folder / "pictures").mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(folder / "pictures" / f"{name}.png"), np.full((50, 70, 3), 90, np.uint8))
    (folder / "list.json").write_text(json.dumps(rows))
    return folder / "list.json"


def row(name: str, *said: str, image: str = "a") -> dict:
    speakers = ["human", "gpt"] * len(said)
    turns = [{"from": speaker, "value": text} for speaker, text in zip(speakers, said, strict=False)]
    return {"id": name, "image": f"pictures/{image}.png", "conversations": turns}


def test_own_data_train_by_the_same_command(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    rows = [row(str(number), "<image>\nWhat is it?", "gray") for number in range(6)]
    rows += [row("odd", "<image>\nWhat?", "gray", "And?"), row("long", "<image>\n" + "so " * 900, "gray")]
    data = own_data(tmp_path / "own", rows)
    recipe = override(
        quick(), {"tower": str(finished / "tower/model"), "language": str(finished / "language/model")}
    )
    made = train(recipe, data=data, output=tmp_path / "run", progress=True)
    card = json.loads((made / "card.json").read_text())["data"]
    assert (card["records"], card["left_out"]) == (6, 2)
    told = capsys.readouterr().err
    assert "instruct: 2 records are left out" in told
    assert isinstance(load(made).ask(np.zeros((9, 9, 3), np.uint8), "What?", longest=3), str)


def test_data_of_which_nothing_is_left(finished: Path, tmp_path: Path) -> None:
    data = own_data(tmp_path / "own", [row("1", "<image>\nIs?", " "), row("2", "<image>\nHm?", "")])
    recipe = override(
        quick(), {"tower": str(finished / "tower/model"), "language": str(finished / "language/model")}
    )
    with pytest.raises(DataError, match="none of the"):
        train(recipe, data=data, output=tmp_path / "run", progress=False)


def test_low_rank_stage_ends_in_a_whole_model(finished: Path, tmp_path: Path) -> None:
    recipe = override(
        quick(),
        {
            "initial": str(finished / "model"),
            "lora": {"rank": 4, "alpha": 8, "dropout": 0.0},
            "train": {"stages": [{"name": "instruct", "steps": 2, "trainable": ["*projector*", "*lora_*"]}]},
        },
    )
    made = train(recipe, data=None, output=tmp_path / "run", progress=False)
    before, after = (load_file(path / "model.safetensors") for path in (finished / "model", made))
    assert before.keys() == after.keys()
    name = "language.model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(before[name], after[name])
    assert torch.equal(
        before["language.model.embed_tokens.weight"], after["language.model.embed_tokens.weight"]
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["train.stages.0.name=pretrain"], "the stages are pretrain"),
        (["train.stages.0.name=instruct", "train.stages.2.name=align"], "in this order"),
        (["lora={rank: 4}"], "low-rank updates are for the second stage alone"),
        (["mix.conversation=-1"], "cannot be drawn by"),
        (["tower=nowhere/at/all"], "neither a file nor a folder"),
    ],
)
def test_mistakes_before_anything_is_written(tmp_path: Path, settings: list[str], words: str) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=words):
        train(override(quick(), settings), data=None, output=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "model").exists()


def test_a_run_is_not_begun_over(finished: Path) -> None:
    with pytest.raises(OutputError, match="holds a run already"):
        train(quick(), data=None, output=finished, progress=False)


def test_no_sample_shows_a_pair_that_is_kept_for_testing() -> None:
    source = WorldConversations(tiny().mix, 36, 0)
    scenes = [scene for index in range(300) for scene in source._made((0, index))[0].scenes]
    assert len(scenes) > 300, "some conversations are about two pictures"
    assert not {(thing.kind, thing.colour) for scene in scenes for thing in scene.things} & NEW_PAIRS


def test_the_picture_stands_before_or_after_the_first_question() -> None:
    source = WorldConversations(tiny().mix, 36, 0)
    first = [source.turns((0, index))[0][0] for index in range(200)]
    before = sum(question.startswith("<image>\n") for question in first)
    after = sum(question.endswith("\n<image>") for question in first)
    assert before + after == 200
    assert 70 < before < 130
    assert first == [source.turns((0, index))[0][0] for index in range(200)], "by the key alone"


def test_every_built_in_sample_teaches_something(words: Tokenizer) -> None:
    llava = random_llava(small())
    layout = layout_of(llava.config, words, template="v1")
    data = ConversationDataset(WorldConversations(tiny().mix, 36, 1), layout)
    for index in range(60):
        assert (data[0, index].encoded.labels != IGNORED).any()


def test_command_says_what_it_made(finished: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "scene.png"), draw(make_scene(np.random.default_rng(1)))[..., ::-1])
    arguments = [
        "run",
        "llava",
        str(tmp_path / "scene.png"),
        "--checkpoint",
        str(finished / "model"),
        "--most",
        "5",
    ]
    result = CliRunner().invoke(app, [*arguments, "--ask", "What?", "--ask", "Where?", "--json"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.output)
    assert [entry["question"] for entry in told["answers"]] == ["What?", "Where?"]
    assert told["note"] is None
    talk = CliRunner().invoke(app, [*arguments, "--chat"], input="What is at the top?\n\n")
    assert talk.exit_code == 0, talk.output
    assert "it: " in talk.output
    for wrong, words in (([], "exactly one of --ask and --chat"), (["--ask", ""], "the question is empty")):
        failed = CliRunner().invoke(app, [*arguments, *wrong])
        assert failed.exit_code != 0
        assert words in str(failed.exception)


def test_assistant_of_python(finished: Path) -> None:
    assert isinstance(load(finished / "model"), Assistant)


@pytest.mark.slow
def test_claims_compare_what_they_name(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from visionsmith.papers import paper
    from visionsmith.papers.llava import claims as checks

    for name in ("ALIGN", "READ", "INSTRUCT"):
        monkeypatch.setattr(checks, name, 1)
    monkeypatch.setattr(checks, "SEEDS", (0, 1))
    monkeypatch.setattr(checks._Runs, "made_language", lambda runs: finished / "language" / "model")
    monkeypatch.setattr(paper, "shipped_checkpoint", lambda name: finished / "model")
    found = checks.claims(output=tmp_path, progress=False)
    assert [len(claim.values) for claim in found] == [2, 2, 2]
    made = {folder.name for folder in tmp_path.iterdir()}
    kinds = ("read", "read-unaligned", "read-last-layer", "types-all", "types-conversation")
    assert made == {f"{kind}-seed{seed}" for kind in kinds for seed in (0, 1)}
    stages = {
        kind: [
            line["stage"]
            for line in map(json.loads, (tmp_path / f"{kind}-seed0" / "log.jsonl").read_text().splitlines())
            if "stage" in line
        ][-1]
        for kind in kinds
    }
    assert stages["read-unaligned"] == "read"
    assert stages["types-all"] == "instruct"
    config = json.loads((tmp_path / "read-last-layer-seed0" / "model" / "config.json").read_text())["config"]
    assert config["select_layer"] == -1
    assert checks.claims(output=tmp_path, progress=False) == found, "finished trainings are read"
