"""Objectives that papers share, as pure functions of features.

| module        | holds                                                                      |
|---------------|----------------------------------------------------------------------------|
| `contrastive` | the symmetric loss of CLIP: in one piece, in blocks, over processes         |
| `supcon`      | the supervised contrastive losses and SimCLR's: in blocks, over processes   |
| `gather`      | an all-gather that gradients pass through                                   |
| `precision`   | float32 or better, under autocast too                                       |
"""
