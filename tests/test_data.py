"""What every data set of configs/data keeps; tests of your own sets go below."""

from kindling.testing.data import *  # noqa: F403
