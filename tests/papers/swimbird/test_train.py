"""A few steps from nothing, then everything that a user does with what came out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from visionsmith import checkpoint
from visionsmith.cli.app import app
from visionsmith.data.sampler import generator
from visionsmith.data.world import draw, make_scene
from visionsmith.errors import ConfigError, VisionsmithError
from visionsmith.image.io import read_image, write_image
from visionsmith.papers.swimbird import evaluate
from visionsmith.papers.swimbird.looks import nearest
from visionsmith.papers.swimbird.objective import SwimBirdObjective
from visionsmith.papers.swimbird.recipes import ROUND, SwimBirdRecipe, paper, tiny
from visionsmith.papers.swimbird.run import load
from visionsmith.papers.swimbird.samples import WorldChats
from visionsmith.papers.swimbird.tasks import KINDS
from visionsmith.papers.swimbird.train import make_reasoner
from visionsmith.train.optim import set_trainable

SMALL = [
    "model.vision.depth=2", "model.vision.hidden_size=16", "model.vision.intermediate_size=16",
    "model.vision.num_heads=2", "model.vision.patch_size=12", "model.vision.num_position_embeddings=36",
    "model.text.hidden_size=24", "model.text.intermediate_size=24", "model.text.num_hidden_layers=2",
    "model.text.num_attention_heads=2", "model.text.num_key_value_heads=1", "model.text.head_dim=12",
    "model.text.mrope_section=[2,2,2]", "train.batch_size=4", "train.stages=[{name: think, steps: 2}]",
    "train.save_every=100", "name_steps=0", "sight_steps=0", "train.evaluate_every=0", "train.log_every=1",
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("swimbird") / "run"
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("visionsmith.papers.swimbird.train.QUICK", 1)
        command = ["train", "swimbird", "--output", str(output), "--quiet", *SMALL]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return output / "model"


def test_a_checkpoint_answers(trained: Path, tmp_path: Path) -> None:
    assert checkpoint.verify(trained) is None
    picture = tmp_path / "scene.png"
    write_image(picture, draw(make_scene(generator(0, 0, 0), 3)))
    command = ["run", "swimbird", str(picture), "--checkpoint", str(trained), "--most", "12",
               "--ask", "What is in the middle?", "--ask", "How many things are there?"]  # fmt: skip
    done = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    answers = json.loads(done.stdout)["answers"]
    assert [answer["question"] for answer in answers] == [
        "What is in the middle?",
        "How many things are there?",
    ]
    assert {answer["mode"] for answer in answers} <= {"text", "vision", "interleaved"}
    shown = CliRunner().invoke(app, command, catch_exceptions=False)
    assert shown.stdout.count("thought in:") == 2
    # Without a picture too.
    words = CliRunner().invoke(
        app,
        ["run", "swimbird", "--checkpoint", str(trained), "--ask", "Why?", "--most", "4"],
        catch_exceptions=False,
    )
    assert words.exit_code == 0


def test_thoughts_are_drawn_where_they_look(trained: Path, tmp_path: Path) -> None:
    bird = load(trained)
    picture = draw(make_scene(generator(0, 0, 1), 4), 72)
    config = bird.model.config
    from visionsmith.papers.swimbird.patches import cut

    part = cut(picture, config.vision, least=1, most=config.max_image_token)
    with torch.no_grad():
        tokens = bird.model.see(part.values, part.grids).tokens
    # A thought that is a token of the picture is nearest to that token.
    near = nearest(bird.model, picture, tokens[[4, 7]])
    rows, columns = near.shape[1:]
    assert [divmod(int(one.argmax()), columns) for one in near] == [divmod(4, columns), divmod(7, columns)]
    assert rows * columns == len(tokens)
    # A head that must think makes a sheet.
    lean = torch.zeros(config.text.vocab_size)
    lean[config.latent_start_id], lean[config.latent_end_id] = 1e4, 2e4
    plain = bird.model.head
    bird.model.head = lambda states: plain(states) + lean
    from visionsmith.papers.swimbird.looks import draw_looks

    ((_, written),) = bird.ask_all([("What?", [picture])], most=9)
    looks = draw_looks(bird.model, [picture], written)
    assert len(looks) == sum(span.length > 0 for span in written.spans) > 0
    assert looks[0].shape == (288, 288, 3)
    assert len(np.unique(looks[0])) > 10
    write_image(tmp_path / "look.png", looks[0])
    assert read_image(tmp_path / "look.png").shape == (288, 288, 3)


def test_evaluation_says_what_it_measured(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "COUNT", 2)
    monkeypatch.setattr(evaluate, "MOST", 8)
    found = evaluate.evaluate(checkpoint=trained, progress=False)
    assert set(found["by_kind"]) == set(KINDS)
    assert found["questions"] == 2 * len(KINDS)
    assert set(found["controls"]) == {"thoughts", "zeros", "noise"}
    assert 0 <= found["accuracy"] <= 1
    assert found["baselines"]["majority_answer"] <= 1


def test_the_measure_is_right_about_right_answers() -> None:
    class Answer:
        def __init__(self, text: str, mode: str) -> None:
            self.text, self.mode, self.lengths, self.well_formed = text, mode, (2,), True

    asked = evaluate.exercises(3, side=36)
    perfect = evaluate.summary(asked, [Answer(each.answer, each.mode) for each in asked])
    assert (perfect["accuracy"], perfect["mode_as_taught"], perfect["well_formed"]) == (1, 1, 1)
    assert perfect["span_lengths"] == {2: len(asked)}
    wrong = evaluate.summary(asked, [Answer("x", "text") for each in asked])
    assert wrong["accuracy"] == 0
    assert wrong["by_kind"]["what"] == 0


def test_new_pairs_are_new() -> None:
    from visionsmith.data.world import NEW_PAIRS

    new = {f"{colour} {kind}" for kind, colour in NEW_PAIRS}
    seen = [each for each in evaluate.exercises(20, side=36) if each.kind == "what"]
    fresh = [each for each in evaluate.exercises(20, side=36, new=True) if each.kind == "what"]
    assert not any(each.answer.split(" ", 1)[1] in new for each in seen)
    assert any(each.answer.split(" ", 1)[1] in new for each in fresh)


def test_dialogues_of_a_user_train(trained: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((48, 48, 3), np.uint8))
    items = [
        {
            "conversations": [
                {"from": "human", "value": "<image> What?"},
                {"from": "gpt", "value": "<reason><reasoning_image></reason><answer>black</answer>"},
            ],
            "image": "a.png",
            "reasoning_image": ["a.png"],
            "answer": "black",
        }
    ] * 4
    (tmp_path / "list.json").write_text(json.dumps(items), encoding="utf-8")
    command = [
        "train",
        "swimbird",
        "--data",
        str(tmp_path / "list.json"),
        "--output",
        str(tmp_path / "run"),
        "--quiet",
    ]
    command += [*SMALL, f"initial={trained}"]
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    log = [
        json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    losses = [line["latent_loss"] for line in log if "latent_loss" in line]
    assert all(loss > 0 for loss in losses)
    found = evaluate.evaluate(
        checkpoint=tmp_path / "run" / "model", data=tmp_path / "list.json", progress=False
    )
    assert found["dialogues"] == 4
    assert sum(found["modes"].values()) == 4


def test_stages_teach_what_they_say() -> None:
    recipe = tiny()
    assert [recipe.name_steps, recipe.sight_steps] == [stage.steps for stage in recipe.train.stages[:2]]
    bird = make_reasoner(recipe)
    chats = WorldChats(recipe, bird.model.config, bird.tokenizer)
    seeing = recipe.name_steps // ROUND
    first = seeing + recipe.sight_steps // ROUND
    assert all(len(chats[(0, index)].pictures.grids) == 6 for index in range(5)), "six things, each cut out"
    plain = [chats[(seeing, index)] for index in range(30)]
    assert all(chat.thoughts is None for chat in plain)
    assert {len(chat.pictures.grids) for chat in plain if chat.pictures} <= {1, 2}
    thinking = [chats[(first, index)] for index in range(30)]
    assert any(chat.thoughts is not None for chat in thinking)
    # A batch is of one kind: short dialogues do not wait for long ones.
    size = recipe.train.batch_size
    later = first - 1
    captions, blank = 0, 0
    for batch in range(ROUND):
        few = [chats[(later, batch * size + row)] for row in (0, 7, size - 1)]
        said = {"Where is what?" in text or "What is where?" in text or "Describe the picture." in text
                for text in (bird.tokenizer.decode(chat.ids.tolist()) for chat in few)}  # fmt: skip
        seen = {chats[(first, batch * size + row)].pictures is None for row in (0, size - 1)}
        assert len(said) == len(seen) == 1
        captions, blank = captions + said.pop(), blank + seen.pop()
    assert (captions, blank) == (ROUND * recipe.caption_share, ROUND // 5)
    blind = WorldChats(dataclasses.replace(recipe, looks=False), bird.model.config, bird.tokenizer)
    assert all(blind[(first, index)].thoughts is None for index in range(30))
    objective = SwimBirdObjective(bird.model)
    learning = {}
    for stage in recipe.train.stages:
        set_trainable(objective, stage)
        learning[stage.name] = {
            name for name, parameter in objective.named_parameters() if parameter.requires_grad
        }
    assert learning["names"] == learning["sight"] > learning["think"] > set()
    assert not any("visual" in name for name in learning["think"])
    assert any("language_model" in name for name in learning["think"])
    assert paper().train.batch_size == 128
    with pytest.raises(ConfigError, match="no multiple"):
        SwimBirdRecipe(model=recipe.model, train=recipe.train, sight_steps=7)


def test_mistakes(trained: Path, tmp_path: Path) -> None:
    for extra, message in (
        ([], "no question was given"),
        (["--ask", " "], "a question is empty"),
        (["--ask", "a <|im_end|>"], "contains the token"),
        (["--ask", "w" * 9000], "takes"),
        ([str(tmp_path / "absent.png"), "--ask", "What?"], "absent.png"),
        (["--ask", "What?", "--least-thoughts", "9", "--most-thoughts", "3"], "N_min no larger"),
    ):
        done = CliRunner().invoke(app, ["run", "swimbird", "--checkpoint", str(trained), *extra])
        assert isinstance(done.exception, VisionsmithError), extra
        assert message in str(done.exception), (extra, str(done.exception))
