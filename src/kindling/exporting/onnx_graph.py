"""An ONNX graph that computes the same with less."""

from typing import Any

from kindling.extras import optional


def simplified(model: Any) -> Any:
    """Without paths of this machine, the batch's dimension named, norms where they merge into convolutions."""
    graph = model.graph
    for each in (model, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        del each.metadata_props[:]  # stack traces
        each.doc_string = ""
    for value in (*graph.input, *graph.output):
        dimension = value.type.tensor_type.shape.dim[0]
        dimension.dim_param = "batch"
    while _swap_one(graph):
        pass
    del graph.value_info[:]  # ONNX Runtime infers the shapes itself
    return model


def _swap_one(graph: Any) -> bool:
    """Norm before pooling, where it was after it and grows with its input, as the largest value stays the largest."""
    onnx: Any = optional("onnx")
    weights = {each.name: each for each in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input]
    for norm in graph.node:
        pool = makers.get(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if pool is None or pool.op_type != "MaxPool" or readers.count(pool.output[0]) != 1:
            continue
        before = makers.get(pool.input[0])
        scale = weights.get(norm.input[1])
        if before is None or before.op_type != "Conv" or readers.count(pool.input[0]) != 1 or scale is None:
            continue
        if (onnx.numpy_helper.to_array(scale) < 0).any():
            continue
        source, between, result = pool.input[0], pool.output[0], norm.output[0]
        norm.input[0], norm.output[0] = source, between
        pool.input[0], pool.output[0] = between, result
        _exchange(graph, pool, norm)
        return True
    return False


def _exchange(graph: Any, first: Any, second: Any) -> None:
    """Nodes stand in the order in which they are computed."""
    onnx: Any = optional("onnx")
    places = [list(graph.node).index(each) for each in (first, second)]
    copies = [onnx.NodeProto(), onnx.NodeProto()]
    for copy, node in zip(copies, (second, first), strict=True):
        copy.CopyFrom(node)
    for place, copy in zip(places, copies, strict=True):
        graph.node[place].CopyFrom(copy)
