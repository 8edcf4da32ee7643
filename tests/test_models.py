"""What every model of configs/model keeps; tests of your own models go below."""

from kindling.testing.models import *  # noqa: F403
