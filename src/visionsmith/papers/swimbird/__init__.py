"""SwimBird: reasoning in words, in latent thoughts, or in both (arXiv:2602.06040)."""
