"""What cannot be exported, or not so."""

from omegaconf import DictConfig

from kindling.data.processor import Processor, classes_of
from kindling.data.text_processor import TextProcessor
from kindling.errors import ConfigError
from kindling.images.processor import classifies


def preprocessing_of(processor: Processor, cfg: DictConfig) -> bool:
    """Whether the exported model takes pixels.

    Raises:
        ConfigError: the format or the preprocessing makes no sense for what the task gives.
    """
    if cfg.preprocessing and not classifies(processor):
        given = processor.kind if processor.is_ready_made else type(processor).__name__
        raise ConfigError(
            f"preprocessing: given true for {given}; allowed: of classes of images alone; leave it out, since "
            "model.json says what comes before and after the model"
        )
    if cfg.format == "int8" and not classes_of(processor):
        given = f"{processor.kind} without classes" if processor.is_ready_made else type(processor).__name__
        raise ConfigError(
            f"format: given int8 for {given}; allowed: for classes, whose accuracy shows what 8 bits lose; take onnx, "
            "pt2 or torchscript"
        )
    return classifies(processor) and cfg.preprocessing is not False and cfg.format != "safetensors"


def refuse_unknown_text(processor: Processor) -> None:
    """
    Raises:
        ConfigError: a text that goes on in a way of its own says nothing of how long an input may be.
    """
    if processor.kind == "text" and not isinstance(processor, TextProcessor):
        raise ConfigError(f"processor: given {type(processor).__name__} of texts; allowed: a subclass of TextProcessor")
