"""What openapi.json and /docs say of the routes: of a prediction, what the processor of the model says."""

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kindling.data.processor import Column, Kind, Processor
from kindling.images.processor import classifies
from kindling.inference.serving.limits import Limits

Responses = dict[int | str, dict[str, Any]]
TITLE = "Kindling"
# Of the first classes, in an example.
SHARES = (0.9, 0.07, 0.03)
PREDICT = "What the model makes of an input"
# What a request holds, by kind.
NOUNS: Mapping[Kind, str] = {"image": "images", "rows": "rows", "text": "texts"}
LIMITS: Mapping[Kind, tuple[str, ...]] = {
    "image": ("max_images", "max_body_bytes", "max_pixels", "timeout_s"),
    "rows": ("max_rows", "max_body_bytes", "timeout_s"),
    "text": ("max_length", "max_text_s", "max_body_bytes", "timeout_s"),
}

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_STRINGS = {"type": "array", "items": _TEXT}
_TEXTS = {"type": "array", "items": {"type": "string", "format": "byte"}, "minItems": 1}


def _of(description: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_ERROR = _object({"error": _object({"code": _TEXT, "message": _TEXT}), "request_id": _TEXT})
_KEY: Responses = {401: _of("No valid API key", _ERROR)}
_LOADING: Responses = {503: _of("The model is not loaded yet", _ERROR)}
HEALTH: Responses = {200: _of("It is", _object({"status": {"const": "ok"}})), **_LOADING}
METRICS: Responses = {200: {"description": "Text", "content": {"text/plain": {"schema": _TEXT}}}, **_KEY}
EXAMPLES: Responses = {
    200: _of(
        "Files in base64, of the evaluation of the run that is served; none without one", _object({"images": _STRINGS})
    ),
    **_KEY,
}
_COLUMNS = {"type": "array", "items": _object({"name": _TEXT})}
MODEL: Responses = {
    200: _of(
        "Its id, what it takes and gives, and the limits of a request",
        {
            **_object(
                {
                    "version": {"const": 1},
                    "model": _TEXT,
                    "name": _TEXT,
                    "metrics": {"type": "object", "additionalProperties": _NUMBER},
                    "format": _TEXT,
                    "kind": {"enum": list(NOUNS)},
                    "limits": {"type": "object", "additionalProperties": _NUMBER},
                }
            ),
            "anyOf": [
                _object(
                    {
                        "classes": {"type": "array", "items": _TEXT},
                        "image_size": {"type": "integer"},
                        "channels": {"type": "integer"},
                    }
                ),
                _object({"inputs": _COLUMNS, "outputs": _COLUMNS, "settings": _COLUMNS}),
            ],
        },
    ),
    **_KEY,
    **_LOADING,
}
REFUSED: Responses = {
    **_KEY,
    408: _of("The request arrived too slowly", _ERROR),
    503: _of("The queue is full, or the model is not loaded yet; Retry-After says when", _ERROR),
    504: _of("No answer in time", _ERROR),
}


@dataclass(frozen=True)
class Example:
    """A request in JSON and its answer, as /docs shows them."""

    request: dict[str, Any]
    answer: str
    takes_files: bool = False
    is_streamed: bool = False


def example(processor: Processor | None) -> Example:
    """Of a model, with its own names and made-up numbers; None for one that is not known."""
    if processor and processor.kind == "text":
        answer = (
            'data: {"text": "..."}\n\nevent: end\ndata: {"version": 1, "model": "...", "pieces": 1, "latency_ms": 2.0}'
        )
        return Example({"prompt": "..."}, answer, is_streamed=True)
    predictions: list[dict[str, Any]] = [{"...": "..."}]
    request: dict[str, Any] = {"images": ["<base64>"]}
    if classifies(processor):
        shares = dict(zip(processor.classes, SHARES, strict=False))
        first, share = next(iter(shares.items()))
        predictions = [{"class": first, "probability": share, "probabilities": shares}]
    elif processor:
        if processor.kind == "rows":
            request = {"rows": [{column.name: plausible(column) for column in processor.inputs}]}
        predictions = [{column.name: plausible(column) for column in processor.outputs}]
    told = {"version": 1, "model": "df25714b84ab", "request_id": "4be33f90b76975a0"}
    lines = [f"{json.dumps({key: value})[1:-1]}," for key, value in told.items()]
    lines += [f'"predictions": {json.dumps(predictions, ensure_ascii=False)},', '"latency_ms": 2.0']
    takes_files = processor is None or processor.kind == "image"
    return Example(request, "{" + "\n ".join(lines) + "}", takes_files)


def plausible(column: Column) -> Any:
    """A value that it may have."""
    if column.type == "image":
        return "<PNG in base64>"
    if column.choices:
        return column.choices[0]
    low, high = (-math.inf if column.low is None else column.low), (math.inf if column.high is None else column.high)
    return min(max(0.0, low), high)


def openapi(base: dict[str, Any], processor: Processor | None, limits: Limits) -> dict[str, Any]:
    """The routes, with what /predict takes and gives; None for a model that is not known."""
    of_kind = {"image": _images, "rows": _rows, "text": _texts}
    summary, body, responses = of_kind[processor.kind](processor, limits) if processor else _unknown()
    found = copy.deepcopy(base)
    told = {str(status): each for status, each in sorted({**responses, **REFUSED}.items())}
    predict = found["paths"]["/predict"]["post"]
    predict |= {"summary": summary, "requestBody": {"required": True, **body}, "responses": told}
    return found


Said = tuple[str, dict[str, Any], Responses]


def _unknown() -> Said:
    content = {kind: {"schema": {"type": "object"}} for kind in ("multipart/form-data", "application/json")}
    return PREDICT, {"content": content}, {200: {"description": "An answer to each input"}}


def _predictions(description: str, prediction: dict[str, Any]) -> dict[str, Any]:
    answers = {"type": "array", "items": prediction}
    told = {"version": {"const": 1}, "model": _TEXT, "request_id": _TEXT, "predictions": answers}
    return _of(description, _object({**told, "latency_ms": _NUMBER}))


def _images(processor: Processor, limits: Limits) -> Said:
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _FILES}}},
        "application/json": {"schema": _object({"images": _TEXTS})},
    }
    body = {"description": "Image files in a form, under any name, or in JSON as base64.", "content": content}
    if classifies(processor):
        body["description"] += " /predict?seen=true also gives each image as the net sees it: seen, a PNG in base64."
        shares = {"type": "object", "additionalProperties": _NUMBER}
        prediction = _object({"class": _TEXT, "probability": _NUMBER, "probabilities": shares})
        summary = "The class of each image, and the probability of each class"
    else:
        prediction, summary = _columns(processor.outputs), "What the model says of each image"
    responses: Responses = {
        200: _predictions("A prediction for each image, in their order", prediction),
        400: _of("No form, no JSON", _ERROR),
        413: _of("Too many bytes, images or pixels", _ERROR),
        415: _of("Neither a form nor JSON", _ERROR),
        422: _of("No image, or one that cannot be read", _ERROR),
    }
    return summary, body, responses


def _rows(processor: Processor, limits: Limits) -> Said:
    row = {**_columns(processor.inputs), "additionalProperties": False}
    several = {"type": "array", "items": row, "minItems": 1, "maxItems": limits.max_rows}
    schema = {"anyOf": [_object({"rows": several}), row]}
    body = {"description": "Rows, or one of them.", "content": {"application/json": {"schema": schema}}}
    responses: Responses = {
        200: _predictions("An answer to each row, in their order", _columns(processor.outputs)),
        400: _of("No JSON, or a row that lacks a column or holds what is not allowed", _ERROR),
        413: _of("Too many bytes, rows or values", _ERROR),
        415: _of("No JSON", _ERROR),
        422: _of("The model gives no number for a row", _ERROR),
    }
    return "What the model says of each row", body, responses


def _texts(processor: Processor, limits: Limits) -> Said:
    settings = {column.name: _schema(column) for column in settings_within(processor, limits)}
    prompt = {"type": "string", "minLength": 1, "maxLength": limits.max_length}
    schema = {**_object({"prompt": prompt}), "additionalProperties": False}
    schema["properties"] = {**schema["properties"], **settings}
    body = {"description": "A prompt, and how to go on.", "content": {"application/json": {"schema": schema}}}
    stream = 'Events: {"text": ...} for what follows, piece by piece; then "end", or "error" with an error'
    responses: Responses = {
        200: _of(stream, _TEXT, "text/event-stream"),
        400: _of("No JSON, or a prompt or setting that is not allowed", _ERROR),
        413: _of("Too many bytes", _ERROR),
        415: _of("No JSON", _ERROR),
        422: _of("The model cannot go on", _ERROR),
    }
    return "The text that follows a prompt, as it is drawn", body, responses


def settings_within(processor: Processor, limits: Limits) -> list[Column]:
    """What a client may set, within the limits of the server."""
    found = []
    for column in processor.settings:
        if column.name == "length":
            column = replace(column, high=limits.max_length, default=min(column.default, limits.max_length))
        found.append(column)
    return found


def _columns(columns: tuple[Column, ...]) -> dict[str, Any]:
    return _object({column.name: _schema(column) for column in columns})


def _schema(column: Column) -> dict[str, Any]:
    of_type = {"type": column.type if column.type in ("number", "integer") else "string"}
    of_type |= {"format": "byte"} if column.type == "image" else {}
    found: dict[str, Any] = {"enum": list(column.choices)} if column.choices else of_type
    bounds = {"minimum": column.low, "maximum": column.high, "default": column.default}
    found |= {name: value for name, value in bounds.items() if value is not None}
    return found | ({"description": column.unit} if column.unit else {})
