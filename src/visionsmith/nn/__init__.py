"""Blocks that two or more systems share. They take numbers or modules, never a config."""
