"""Advice on loading a data set: measured speed and what limits it, the last batch, classes, and a setting.

`loading` measures, `batches` and `classes` count, `same` compares; `report.advice_words` says it in words.
"""

from visionsmith.data.advice.measure import Advice, advise

__all__ = ["Advice", "advise"]
