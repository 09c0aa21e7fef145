"""One folder a paper. `paper.py` says what such a folder holds; nothing here names a paper."""
