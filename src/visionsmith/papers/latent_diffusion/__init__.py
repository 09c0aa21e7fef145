"""Latent diffusion: text to picture in the latents of an autoencoder (Rombach et al. 2022, arXiv:2112.10752)."""
