"""Named ranges for the arguments that a config gives: written as a type, checked before anything is imported.

The check reads these, and any alias of your own like them, from source: `dropout: Probability`.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Interval

Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
PositiveInt = Annotated[int, Ge(1)]
NotNegativeInt = Annotated[int, Ge(0)]
# -1: all.
AllOrMore = Annotated[int, Ge(-1)]
Probability = Annotated[float, Interval(ge=0, le=1)]
# Where 1 would leave nothing: a momentum, the drop of a whole branch.
BelowOne = Annotated[float, Interval(ge=0, lt=1)]
Fraction = Annotated[float, Interval(gt=0, lt=1)]
# What a learning rate is multiplied with, so that it never grows.
Factor = Annotated[float, Interval(gt=0, le=1)]
Seed = Annotated[int, Interval(ge=0, lt=2**32)]
