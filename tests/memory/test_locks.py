from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel

from visionsmith.errors import CheckpointError, VisionsmithError
from visionsmith.memory.locks import library_load, require_loaded


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose output layer is tied to its embedding: without the lock, such loads in threads stay incomplete."""
    path = tmp_path_factory.mktemp("bert")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    BertForMaskedLM(BertConfig(vocab_size=50, **sizes)).save_pretrained(path)
    return path


def load(folder: Path) -> BertForMaskedLM:
    with library_load():
        return BertForMaskedLM.from_pretrained(folder)


def test_loads_in_threads_are_whole_and_equal(folder: Path) -> None:
    expected = load(folder).state_dict()
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(load, [folder] * 8))
    assert len(models) == 8
    for model in models:
        require_loaded(model, "test")
        state = model.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_thread_may_enter_again(folder: Path) -> None:
    with library_load():
        require_loaded(load(folder), "test")


def test_one_thread_at_a_time() -> None:
    inside, most = 0, 0

    def enter(_: int) -> None:
        nonlocal inside, most
        with library_load():
            inside += 1
            most = max(most, inside)
            torch.ones(1000).sum()
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(64)))
    assert most == 1


def leak_dtype() -> None:
    torch.set_default_dtype(torch.float64)


def leak_device() -> None:
    torch.set_default_device("meta")


def leak_initialiser() -> None:
    nn.init.normal_ = lambda *_, **__: None


def leak_creator() -> None:
    torch.linspace = lambda *_, **__: None


def leak_tying() -> None:
    PreTrainedModel.tie_weights = lambda *_, **__: None


def leak_registration() -> None:
    nn.Module.register_parameter = lambda *_, **__: None


LEAKS = [leak_dtype, leak_device, leak_initialiser, leak_creator, leak_tying, leak_registration]


@pytest.mark.parametrize("leak", LEAKS)
def test_what_a_load_leaves_changed_is_put_back_and_told(leak) -> None:
    with pytest.raises(VisionsmithError, match="put back"), library_load():
        leak()
    assert_sound()


@pytest.mark.parametrize("leak", LEAKS)
def test_an_error_inside_passes_and_still_puts_back(leak) -> None:
    def fail() -> None:
        with library_load():
            leak()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert_sound()


@pytest.mark.parametrize("leak", LEAKS[2:])
def test_a_leak_from_outside_is_put_back_on_entry(leak) -> None:
    leak()
    with pytest.warns(RuntimeWarning, match="outside of library_load"), library_load():
        assert_sound()


def assert_sound() -> None:
    layer = nn.Linear(3, 3)
    nn.init.normal_(layer.weight, mean=5.0, std=0.1)
    assert layer.weight.mean() > 4
    assert layer.weight.dtype == torch.float32
    assert layer.weight.device.type == "cpu"
    assert torch.linspace(0, 1, 3).tolist() == [0, 0.5, 1]
    assert PreTrainedModel.tie_weights.__name__ == "tie_weights"


def test_unread_weights_are_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match="2 weights were not read"):
        require_loaded(model, "somewhere")
