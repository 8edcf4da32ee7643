"""An ONNX graph that computes the same with less."""

from typing import Any

from kindling.config.extras import optional

# Each is merged into what is right before it.
MERGED = {"BatchNormalization": ("Conv",), "Relu": ("Conv", "BatchNormalization")}


def simplified(model: Any) -> Any:
    """Without paths of this machine, the batch named, norms and ReLUs where they merge into convolutions."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        # Torch keeps its own names there.
        del each.metadata_props[:]
        each.doc_string = ""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    while _swap_one(graph):
        pass
    # ONNX Runtime infers the shapes itself.
    del graph.value_info[:]
    return model


def _swap_one(graph: Any) -> bool:
    """A norm or ReLU before pooling, where it was after it and grows with its input: the largest stays largest."""
    weights = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input]
    for node in graph.node:
        pool = makers.get(node.input[0]) if _grows(node, weights) else None
        if pool is None or pool.op_type != "MaxPool" or readers.count(pool.output[0]) != 1:
            continue
        before = makers.get(pool.input[0])
        if before is None or before.op_type not in MERGED[node.op_type] or readers.count(pool.input[0]) != 1:
            continue
        source, between, result = pool.input[0], pool.output[0], node.output[0]
        node.input[0], node.output[0] = source, between
        pool.input[0], pool.output[0] = between, result
        _exchange(graph, pool, node)
        return True
    return False


def _grows(node: Any, weights: dict[str, Any]) -> bool:
    """Whether the result of a node grows with its input."""
    onnx: Any = optional("onnx")
    if node.op_type == "BatchNormalization" and node.input[1] in weights:
        return not (onnx.numpy_helper.to_array(weights[node.input[1]]) < 0).any()
    return node.op_type == "Relu"


def _exchange(graph: Any, first: Any, second: Any) -> None:
    """Nodes stand in the order in which they are computed."""
    onnx: Any = optional("onnx")
    places = [list(graph.node).index(each) for each in (first, second)]
    copies = [onnx.NodeProto(), onnx.NodeProto()]
    for copy, node in zip(copies, (second, first), strict=True):
        copy.CopyFrom(node)
    for place, copy in zip(places, copies, strict=True):
        graph.node[place].CopyFrom(copy)
