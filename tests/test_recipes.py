"""What every recipe of configs/experiment keeps; tests of your own recipes go below."""

from kindling.testing.recipes import *  # noqa: F403
