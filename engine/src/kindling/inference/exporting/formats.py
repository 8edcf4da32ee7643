"""A graph as the file of each format."""

import logging
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from kindling.config.extras import optional
from kindling.errors import ExportError, one_line
from kindling.inference.exporting.exported_graph import Signature
from kindling.inference.exporting.onnx_graph import simplified
from kindling.inference.model_folder import AOT_FILE, FILES
from kindling.inference.runtimes import DEPRECATED

Method = Literal["auto", "script", "trace"]
OTHERS = dict.fromkeys(("onnx", "int8", "pt2"), "format=torchscript") | {"torchscript": "torchscript=trace"}
CHATTY = ("onnxscript", "onnx_ir", "torch", "torch.onnx", "torch.export", "torch._dynamo", "torch._inductor", "root")
NORMALISED_IMAGES = Signature()
log = logging.getLogger(__name__)


@contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say to their own developers."""
    loggers = [logging.getLogger(None if name == "root" else name) for name in CHATTY]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        warnings.filterwarnings("ignore", message=DEPRECATED)
        # It warns of shapes; the parity is measured.
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", module=r"onnx.*|torch\.(onnx|jit|export|fx|_dynamo|_inductor).*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def unable(format: str, net: nn.Module, error: Exception) -> ExportError:
    """One line for what an exporter says on many."""
    reason = one_line(Exception(str(error).strip().partition("\n")[0].rstrip(":") or type(error).__name__))
    given = f"format: given {format}, which cannot hold {type(net).__name__} ({reason})"
    return ExportError(
        f"{given}; allowed: a net that does the same for all inputs; try {OTHERS[format]}, or change its forward"
    )


@contextmanager
def unfused() -> Iterator[None]:
    """Without the fused layer of a transformer, which only torch itself has."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def program(graph: nn.Module, example: Tensor, signature: Signature) -> torch.export.ExportedProgram:
    """What torch.export sees of a graph, for any number of inputs."""
    dynamic = {0: torch.export.Dim("batch", min=1)}
    # A dimension of 1 would be taken for a fixed one.
    if signature.longest and signature.longest > 1:
        dynamic[1] = torch.export.Dim("length", min=1, max=signature.longest)
    with unfused():
        found = torch.export.export(graph, (example,), dynamic_shapes=(dynamic,), strict=False)
    for node in found.graph.nodes:
        # It holds paths of this machine.
        node.meta.pop("stack_trace", None)
    return found


def write_onnx(graph: nn.Module, example: Tensor, file: Path, signature: Signature) -> None:
    onnx: Any = optional("onnx")
    takes, gives = [signature.takes], list(signature.gives)
    with torch.no_grad():
        found = program(graph, example, signature)
        made = torch.onnx.export(found, dynamo=True, verbose=False, input_names=takes, output_names=gives)
    assert made is not None, "with dynamo=True"
    model = simplified(made.model_proto)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def write_pt2(graph: nn.Module, example: Tensor, file: Path, signature: Signature, *, aot: bool) -> None:
    with torch.no_grad():
        found, written = program(graph, example, signature), BytesIO()
        # Torch itself aborts where the disk is full.
        torch.export.save(found, written)
        file.write_bytes(written.getbuffer())
        if aot:
            torch._inductor.aoti_compile_and_package(found, package_path=str(file.with_name(AOT_FILE)))


def write_torchscript(
    graph: nn.Module, example: Tensor, file: Path, signature: Signature, method: Method
) -> tuple[Method, bool]:
    """Returns how it was made, and whether it is surely the same for all inputs.

    A script keeps what depends on the inputs, a trace holds what it did for one batch.
    """
    compiled, how, is_sure = _compiled(graph, example, signature, method)
    written = BytesIO()
    torch.jit.save(compiled, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(file, "w") as target:
        for each in source.infolist():
            # Which file and line of this machine each came from.
            if not each.filename.endswith(".debug_pkl"):
                target.writestr(each, source.read(each))
    return how, is_sure


def _compiled(graph: nn.Module, example: Tensor, signature: Signature, method: Method) -> tuple[Any, Method, bool]:
    is_sure = True
    with torch.no_grad():
        if method != "trace":
            try:
                return torch.jit.script(graph), "script", True
            except Exception:
                # The compiler's errors have no common class.
                if method == "script":
                    raise
        try:
            program(graph, example, signature)
        except Exception:
            # For instance, the way through the net depends on the inputs.
            if method != "trace":
                raise
            is_sure = False
        with unfused():
            return torch.jit.trace(graph, (example,), check_trace=False), "trace", is_sure


def write(
    format: str,
    graph: nn.Module,
    example: Tensor,
    folder: Path,
    *,
    method: Method,
    aot: bool,
    signature: Signature = NORMALISED_IMAGES,
) -> dict[str, Any]:
    """Write the model file of a format into a folder; returns what is to be known of how it was made.

    Raises:
        ExportError: the format cannot hold the graph.
    """
    file = folder / FILES[format]
    facts: dict[str, Any] = {}
    is_sure = True
    try:
        with quiet():
            if format == "torchscript":
                facts["method"], is_sure = write_torchscript(graph, example, file, signature, method)
            elif format == "pt2":
                write_pt2(graph, example, file, signature, aot=aot)
            else:
                write_onnx(graph, example, file, signature)
    except OSError as error:
        error.filename = error.filename or str(file)
        raise
    except Exception as error:
        # Each exporter has many errors of its own.
        raise unable(format, getattr(graph, "net", graph), error) from error
    if not is_sure:
        log.warning("warning: a trace holds what it did for two inputs, and may do that for all others too")
    return facts
