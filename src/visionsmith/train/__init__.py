"""One training loop for every paper: `fit` in `loop.py`; what a paper gives it is a `Task`."""
