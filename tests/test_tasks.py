"""What every task of configs/task keeps; tests of your own tasks go below."""

from kindling.testing.tasks import *  # noqa: F403
