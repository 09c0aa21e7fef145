"""Names and settings of LLaVA as others write them, by ours.

| here                | public code            | transformers, on the hub     | transformers, in memory        |
|---------------------|------------------------|------------------------------|--------------------------------|
| `vision.`           | `model.vision_tower.*` | `vision_tower.vision_model.` | `model.vision_tower.`          |
| `projector.`        | `model.mm_projector.`  | `multi_modal_projector.`     | `model.multi_modal_projector.` |
| `language.model.`   | `model.`               | `language_model.model.`      | `model.language_model.`        |
| `language.lm_head.` | `lm_head.`             | `language_model.lm_head.`    | `lm_head.`                     |

*: `vision_tower.vision_model.`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from visionsmith.errors import CheckpointError
from visionsmith.papers.llava.config import LanguageConfig, LlavaConfig, TowerConfig

__all__ = ["config_from_folder", "language_config", "ours", "tower_config"]

T = TypeVar("T")

_NAMES = (
    (r"(?:base_model\.model\.)?(?:model\.)?vision_tower\.(?:vision_tower\.)?(?:vision_model\.)?", "vision."),
    (r"(?:base_model\.model\.)?(?:model\.)?mm_projector\.", "projector."),
    (r"(?:model\.)?multi_modal_projector\.linear_1\.", "projector.0."),
    (r"(?:model\.)?multi_modal_projector\.linear_2\.", "projector.2."),
    (r"language_model\.lm_head\.", "language.lm_head."),
    (r"(?:model\.)?language_model\.(?:model\.)?", "language.model."),
    (r"lm_head\.", "language.lm_head."),
    (r"model\.", "language.model."),
)
"""The first that fits is taken."""

_PROJECTORS = {"linear": "linear", "mlp2x_gelu": "mlp2x_gelu"}


def ours(state: Mapping[str, T]) -> dict[str, T]:
    """A state dict under this project's names; names that are ours already, or nobody's, stay.

    Args:
        state: of a LLaVA in any layout of the table above.
    """
    return {
        _renamed(name): value for name, value in state.items() if not name.endswith("rotary_emb.inv_freq")
    }


def _renamed(name: str) -> str:
    for pattern, ours_ in _NAMES:
        if match := re.match(pattern, name):
            return ours_ + name[match.end() :]
    return name


def config_from_folder(
    values: Mapping[str, Any], *, where: Path, vision: TowerConfig | None = None
) -> LlavaConfig:
    """The config of a folder of the public code (`llava_llama`) or of transformers (`llava`).

    Args:
        values: of its config.json.
        where: the folder, for errors.
        vision: the tower's sizes, which folders of the public code leave to the tower's own.

    Raises:
        CheckpointError: a setting is missing or has no counterpart.
    """
    if values["model_type"] == "llava":
        return _from_transformers(values, where)
    kind = values.get("mm_projector_type", "linear")
    if kind not in _PROJECTORS:
        raise _other(where, "mm_projector_type", kind, _PROJECTORS)
    if (chosen := values.get("mm_vision_select_feature", "patch")) != "patch":
        raise _other(where, "mm_vision_select_feature", chosen, ("patch",))
    language = language_config(values, where=where)
    return LlavaConfig(
        vision=vision or TowerConfig(),
        language=language,
        projector="mlp2x_gelu" if kind == "mlp2x_gelu" else "linear",
        select_layer=int(values.get("mm_vision_select_layer", -2)),
        template="v1",
        image_token=language.vocab_size,
        start_token=values.get("bos_token_id", 1),
        end_token=values.get("eos_token_id", 2),
    )


def _from_transformers(values: Mapping[str, Any], where: Path) -> LlavaConfig:
    if (strategy := values.get("vision_feature_select_strategy", "default")) != "default":
        raise _other(where, "vision_feature_select_strategy", strategy, ("default",))
    if (activation := values.get("projector_hidden_act", "gelu")) != "gelu":
        raise _other(where, "projector_hidden_act", activation, ("gelu",))
    if not isinstance(layer := values.get("vision_feature_layer", -2), int):
        raise _other(where, "vision_feature_layer", layer, ("one number",))
    text = dict(values.get("text_config", {}))
    if text.get("model_type", "llama") != "llama":
        raise _other(where, "text_config.model_type", text["model_type"], ("llama",))
    return LlavaConfig(
        vision=tower_config(values.get("vision_config", {}), where=where),
        language=language_config(text, where=where),
        projector="mlp2x_gelu",
        select_layer=layer,
        template="v1",
        image_token=int(values.get("image_token_id", values.get("image_token_index", 32_000))),
        start_token=text.get("bos_token_id", 1),
        end_token=_first(text.get("eos_token_id", 2)),
    )


def tower_config(values: Mapping[str, Any], *, where: Path) -> TowerConfig:
    """The config of a `CLIPVisionModel`; what it leaves out has that library's defaults."""
    if (activation := values.get("hidden_act", "quick_gelu")) not in ("quick_gelu", "gelu"):
        raise _other(where, "hidden_act", activation, ("quick_gelu", "gelu"))
    return TowerConfig(
        image_size=int(values.get("image_size", 224)),
        patch_size=int(values.get("patch_size", 32)),
        width=int(values.get("hidden_size", 768)),
        hidden=int(values.get("intermediate_size", 3072)),
        layers=int(values.get("num_hidden_layers", 12)),
        heads=int(values.get("num_attention_heads", 12)),
        activation="gelu" if activation == "gelu" else "quick_gelu",
    )


def language_config(values: Mapping[str, Any], *, where: Path) -> LanguageConfig:
    """The config of a `LlamaForCausalLM`; what it leaves out has that library's defaults."""
    rope = values.get("rope_parameters") or values.get("rope_scaling") or {}
    if (kind := rope.get("rope_type", rope.get("type", "default"))) != "default":
        raise _other(where, "rope_type", kind, ("default",))
    if (activation := values.get("hidden_act", "silu")) != "silu":
        raise _other(where, "hidden_act", activation, ("silu",))
    heads = int(values.get("num_attention_heads", 32))
    key_value = int(values.get("num_key_value_heads") or heads)
    return LanguageConfig(
        vocab_size=int(values.get("vocab_size", 32_000)),
        width=int(values.get("hidden_size", 4096)),
        hidden=int(values.get("intermediate_size", 11_008)),
        layers=int(values.get("num_hidden_layers", 32)),
        heads=heads,
        key_value_heads=None if key_value == heads else key_value,
        context=int(values.get("max_position_embeddings", 2048)),
        rope_theta=float(rope.get("rope_theta", values.get("rope_theta", 10_000.0))),
        norm_eps=float(values.get("rms_norm_eps", 1e-6)),
        tied=bool(values.get("tie_word_embeddings", False)),
    )


def _first(value: Any) -> int:
    return int(value[0]) if isinstance(value, list) else int(value)


def _other(where: Path, name: str, found: object, known: object) -> CheckpointError:
    allowed = ", ".join(map(str, known)) if isinstance(known, dict | tuple) else known
    return CheckpointError(
        f"its config.json says {name} = {found!r}, which has no counterpart here",
        where=where,
        do=f"give a LLaVA with {allowed}",
    )
