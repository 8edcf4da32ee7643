"""What every model of configs/model keeps; tests of your own models go below."""

from kindling.testing import nets
from kindling.testing.models import *  # noqa: F403

# Models that are dear for a test, with settings that make them smaller.
nets.SMALLER |= {
    "airbench": {"widths": [16, 64, 64]},
    "gpt": {"depth": 2},
    "torchvision": {"name": "shufflenet_v2_x0_5"},
    "vit": {"depth": 2},
}
