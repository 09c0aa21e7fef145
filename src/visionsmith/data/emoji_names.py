"""Captions and factors of emoji, parsed from their names.

The package `emoji` names each emoji as in ":woman_farmer_medium_skin_tone:". Person, role, hair and skin
tone recur over the names, so that people form a grid: a caption that was never seen can be put together
from parts that were.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["SKIN_TONES", "EmojiName", "Group", "parse"]

SKIN_TONES = ("light", "medium-light", "medium", "medium-dark", "dark")

Group = Literal["flag", "person", "several", "body", "thing"]

_TONE = re.compile(r"(?:^|_)(medium-light|medium-dark|light|medium|dark)_skin_tone(?=_|$)")
_HAIR = re.compile(r"_(?:(red|curly|white|blond)_hair|(bald|beard))$")
_PEOPLE_WORDS = frozenset({"man", "men", "woman", "women", "person", "people"})
_GENDER = {
    **dict.fromkeys(("man", "men", "boy", "merman", "prince"), "man"),
    **dict.fromkeys(("woman", "women", "girl", "mermaid", "princess", "Mrs."), "woman"),
    **dict.fromkeys(("person", "people", "child", "merperson", "Mx"), "person"),
}
_SEVERAL = re.compile(r"^(kiss|couple_with_heart|family)(_|$)|(holding_hands|wrestling|with_bunny_ears)$")
# Emoji that carry a skin tone without being a person.
_BODY = re.compile(
    r"hand|fist|finger|thumb|palm|nose|^ear$|ear_with|foot|^leg$|biceps|nail_polish|selfie|salute|pointing"
    r"|sign_of_the_horns|gesture$|clapping"
)


@dataclass(frozen=True, kw_only=True)
class EmojiName:
    """The parts of a name. Empty where a part does not apply."""

    caption: str
    """Plain English: "woman farmer, medium skin tone", "flag of Kuwait"."""
    group: Group
    subject: str
    """What is left without person, hair and skin tone: "farmer", "golfing", "thumbs up", "Kuwait"."""
    gender: str
    """"man", "woman", "person", or two of them for a pair ("woman man")."""
    hair: str
    """"red", "curly", "white", "blond", "bald" or "beard"."""
    skin: tuple[str, ...]
    """One skin tone, two for a pair that differs, none for the yellow default."""

    def factors(self) -> dict[str, Any]:
        """Everything but the caption, as plain values for JSON."""
        values = {**asdict(self), "skin": list(self.skin)}
        del values["caption"]
        return values


def parse(name: str, *, flag: bool = False) -> EmojiName:
    """Split a name as in ":woman_medium-light_skin_tone_white_hair:" into its parts.

    Args:
        name: the name, with or without the colons.
        flag: whether the emoji is the flag of a region, whose name is the region's alone.
    """
    bare = name.strip(":")
    skin = tuple(_TONE.findall(bare))
    bare = _TONE.sub("", bare).strip("_")
    hair_match = _HAIR.search(bare) if bare.partition("_")[0] in _PEOPLE_WORDS else None
    hair = (hair_match[1] or hair_match[2]) if hair_match else ""
    if hair_match:
        bare = bare[: hair_match.start()]
    words = bare.split("_")
    genders = [_GENDER[word] for word in words if word in _GENDER]
    head = bare.replace("_", " ")
    if flag and not head.startswith("flag"):
        head = f"flag of {head}"
    details = [f"{tone} skin tone" for tone in skin]
    if hair_match:
        details.append(hair_match[0].strip("_").replace("_", " "))
    return EmojiName(
        caption=", ".join(part for part in (head, *details) if part),
        group=_group(bare, skin, genders, flag),
        subject=" ".join(word for word in words if word not in _PEOPLE_WORDS),
        gender=" ".join(genders),
        hair=hair,
        skin=skin,
    )


def _group(bare: str, skin: tuple[str, ...], genders: list[str], flag: bool) -> Group:
    if flag:
        return "flag"
    if _SEVERAL.search(bare):
        return "several"
    if skin and not genders and _BODY.search(bare):
        return "body"
    return "person" if genders or (skin and bare) else "thing"
