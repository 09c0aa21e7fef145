"""What does not fit is named with its reason, and a reason is given only where it is true."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from visionsmith.errors import CheckpointError
from visionsmith.keys import Misshapen, compare_keys, reason_by_names, require_keys

State = dict[str, Tensor]


def classifier(classes: int = 10, positions: int = 17, width: int = 8) -> State:
    """The names and shapes of a small vision transformer."""
    model = nn.ModuleDict(
        {
            "blocks": nn.ModuleList([nn.Linear(width, 2 * width), nn.Linear(2 * width, width)]),
            "norm": nn.LayerNorm(width),
            "head": nn.Linear(width, classes),
        }
    )
    return model.state_dict() | {"pos_embed": torch.zeros(1, positions, width)}


def prefixed(prefix: str) -> State:
    return {prefix + key: value for key, value in classifier().items()}


def test_what_fits_passes() -> None:
    report = compare_keys(classifier(), classifier())
    assert report.fits
    assert report.reason is None
    assert str(report) == "all names and shapes fit"
    require_keys(classifier(), classifier())


def test_the_report_agrees_with_torchs_own() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = {
        "0.weight": torch.zeros(3, 2),
        "1.weight": torch.zeros(4, 5),
        "1.bias": torch.zeros(4),
        "x": torch.zeros(1),
    }
    report = compare_keys(model.state_dict(), state)
    fitting = {key: value for key, value in state.items() if key != "1.weight"}
    theirs = model.load_state_dict(fitting, strict=False)
    assert list(report.missing) == [key for key in theirs.missing_keys if key != "1.weight"]
    assert list(report.unexpected) == theirs.unexpected_keys
    assert report.misshapen == (Misshapen("1.weight", (4, 5), (4, 3)),)
    with pytest.raises(RuntimeError, match=r"size mismatch for 1\.weight"):
        model.load_state_dict(state)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (prefixed("module."), "DistributedDataParallel's state: remove 'module.'"),
        (prefixed("_orig_mod."), "a compiled model: remove '_orig_mod.'"),
        (prefixed("module._orig_mod."), "remove 'module._orig_mod.'"),
        (prefixed("model."), "remove 'model.'"),
        (prefixed("ema."), "moving average's state: remove 'ema.'"),
        (prefixed("base_model.model."), "peft: remove 'base_model.model.'"),
        (classifier() | {"embeddings.position_ids": torch.arange(5)}, "remove these"),
        ({"blocks.0.lora_A.default.weight": torch.zeros(4, 8)}, "LoRA weights"),
        ({"unet.down.0.to_q.lora_down.weight": torch.zeros(4, 8)}, "LoRA weights"),
        ({"epoch": 3, "state_dict": classifier()}, "under 'state_dict'"),
        ({"model": classifier(), "optimizer": {}, "epoch": 1}, "under 'model'"),
        (classifier(classes=1000), "1000 classes apart and the model 10"),
        (classifier(positions=50), "for 50 positions and the model has 17"),
        (
            {
                key: value.T if value.ndim == 2 and "blocks" in key else value
                for key, value in classifier().items()
            },
            "transposed",
        ),
        (classifier() | {"extra.weight": torch.zeros(2)}, None),
        (classifier(width=16), None),
        ({}, None),
    ],
)
def test_the_likely_reason(found: dict, reason: str | None) -> None:
    report = compare_keys(classifier(), found)
    assert not report.fits
    if reason is None:
        assert report.reason is None
    else:
        assert reason in report.reason


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "ema.", "base_model.model.", "net."])
def test_following_the_advice_makes_it_fit(prefix: str) -> None:
    found = prefixed(prefix)
    advice = compare_keys(classifier(), found).reason
    assert advice is not None
    named = advice.split("'")[-2]
    assert named == prefix
    assert compare_keys(classifier(), {key.removeprefix(named): value for key, value in found.items()}).fits


def test_a_prefix_of_the_model_itself_is_told_apart() -> None:
    report = compare_keys(prefixed("module."), classifier())
    assert report.reason is not None
    assert "only the model's names begin with 'module.'" in report.reason


def test_real_wrappers_are_recognised() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    wrapped = {
        "module.": nn.DataParallel(model).state_dict(),
        "_orig_mod.": torch.compile(model).state_dict(),
    }
    for prefix, state in wrapped.items():
        assert f"remove '{prefix}'" in (compare_keys(model.state_dict(), state).reason or "")


def test_square_matrices_are_not_called_transposed() -> None:
    report = compare_keys(
        {"a": torch.zeros(4, 2), "b": torch.zeros(3)}, {"a": torch.zeros(2, 4), "b": torch.zeros(5)}
    )
    assert report.reason is None, "one of two is turned; the other is not explained by that"


def test_an_output_layer_of_other_width_is_no_matter_of_classes() -> None:
    report = compare_keys({"head.weight": torch.zeros(10, 8)}, {"head.weight": torch.zeros(20, 16)})
    assert report.reason is None


def test_the_sentence_names_some_and_counts_all() -> None:
    with pytest.raises(CheckpointError) as caught:
        require_keys(classifier(), {}, where="model.safetensors", otherwise="give the whole file")
    text = str(caught.value)
    assert text.startswith(
        "model.safetensors: the weights do not fit the model: 9 missing (blocks.0.weight, "
    )
    assert text.endswith(", ...); give the whole file.")
    assert "\n" not in text


@pytest.mark.parametrize(
    "names", [[], ["encoder.weight", "decoder.weight"], ["model_type"], ["module_list.0.weight"]]
)
def test_names_that_tell_nothing(names: list[str]) -> None:
    assert reason_by_names(names) is None
