"""unCLIP: a prior draws the CLIP embedding of a picture, a decoder paints it (Ramesh et al. 2022, arXiv:2204.06125)."""
