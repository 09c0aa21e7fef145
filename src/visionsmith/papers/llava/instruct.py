"""What the instructions of the built-in world are made of. Imports no torch."""

from __future__ import annotations

from visionsmith.config import config
from visionsmith.errors import ConfigError

__all__ = ["InstructConfig"]


@config
class InstructConfig:
    """What the conversations of the built-in world are made of; shares are relative to each other."""

    conversation: float = 0.7
    """Share of conversations of questions with short answers."""
    detail: float = 0.1
    """Share of conversations that ask for a detailed description, a quarter as many turns."""
    reasoning: float = 0.2
    """Share of conversations that ask for the steps to an answer, half as many turns."""
    turns: int = 8
    """Turns of a conversation with short answers."""
    two_pictures: float = 0.0
    """Share of conversations about two pictures, of two turns."""

    def __post_init__(self) -> None:
        shares = (self.conversation, self.detail, self.reasoning)
        if min(shares) < 0 or not sum(shares):
            raise ConfigError(
                f"the shares {', '.join(f'{share:g}' for share in shares)} cannot be drawn by",
                do="give numbers of 0 or more, at least one above 0",
            )
        if self.turns < 1:
            raise ConfigError(f"turns = {self.turns} is not positive", do="choose at least 1")
        if not 0 <= self.two_pictures <= 1:
            raise ConfigError(
                f"two_pictures = {self.two_pictures} is out of range", do="choose a share from 0 to 1"
            )
