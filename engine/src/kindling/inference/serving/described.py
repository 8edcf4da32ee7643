"""What openapi.json and /docs say of the routes."""

from typing import Any

Responses = dict[int | str, dict[str, Any]]
TITLE = "Kindling"
PREDICT = "The class of each image, and the probability of each class"

_FILES = {"type": "array", "items": {"type": "string", "format": "binary"}}
_TEXTS = {"type": "array", "items": {"type": "string", "format": "byte"}, "minItems": 1}
BODY = {
    "requestBody": {
        "required": True,
        "description": "Image files in a form, under any name, or in JSON as base64.",
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"image": _FILES}}},
            "application/json": {
                "schema": {"type": "object", "properties": {"images": _TEXTS}, "required": ["images"]}
            },
        },
    }
}
_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ERROR = {
    "type": "object",
    "properties": {
        "error": {"type": "object", "properties": {"code": _TEXT, "message": _TEXT}, "required": ["code", "message"]},
        "request_id": _TEXT,
    },
    "required": ["error", "request_id"],
}
_PREDICTION = {
    "type": "object",
    "properties": {
        "class": _TEXT,
        "probability": _NUMBER,
        "probabilities": {"type": "object", "additionalProperties": _NUMBER},
    },
    "required": ["class", "probability", "probabilities"],
}
_ANSWER = {
    "version": {"const": 1},
    "model": _TEXT,
    "request_id": _TEXT,
    "predictions": {"type": "array", "items": _PREDICTION},
    "latency_ms": _NUMBER,
}


def _of(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


_KEY: Responses = {401: _of("No valid API key", _ERROR)}
_LOADING: Responses = {503: _of("The model is not loaded yet", _ERROR)}
PREDICTED: Responses = {
    200: _of("A prediction for each image, in their order", _object(_ANSWER)),
    400: _of("No form, no JSON", _ERROR),
    **_KEY,
    408: _of("The request arrived too slowly", _ERROR),
    413: _of("Too many bytes, images or pixels", _ERROR),
    415: _of("Neither a form nor JSON", _ERROR),
    422: _of("No image, or one that cannot be read", _ERROR),
    503: _of("The queue is full, or the model is not loaded yet; Retry-After says when", _ERROR),
    504: _of("No answer in time", _ERROR),
}
HEALTH: Responses = {200: _of("It is", _object({"status": {"const": "ok"}})), **_LOADING}
MODEL: Responses = {
    200: _of(
        "Its id, classes and image size",
        _object(
            {
                "version": {"const": 1},
                "model": _TEXT,
                "format": _TEXT,
                "classes": {"type": "array", "items": _TEXT},
                "image_size": {"type": "integer"},
                "channels": {"type": "integer"},
                "limits": {"type": "object", "additionalProperties": _NUMBER},
            }
        ),
    ),
    **_KEY,
    **_LOADING,
}
METRICS: Responses = {200: {"description": "Text", "content": {"text/plain": {"schema": _TEXT}}}, **_KEY}
