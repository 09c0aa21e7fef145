"""How well a model does, measured on its features alone: every function takes arrays, none takes a model.

| module         | measures                                                               |
|----------------|------------------------------------------------------------------------|
| `zero_shot`    | top-1 and top-5 among candidate texts; prompt ensembles                |
| `retrieval`    | recall at 1, 5 and 10, both ways                                       |
| `probe`        | a linear classifier on frozen features, with all labels or a few       |
| `shift`        | changes of a picture that leave its meaning alone                      |
| `bag_of_words` | the baseline: the words of the caption, predicted from coarse pixels   |

Nothing is imported here: `probe` needs scikit-learn, `shift` OpenCV, and not every caller both.
"""
