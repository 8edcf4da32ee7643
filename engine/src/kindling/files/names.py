"""Names of files, which may be any bytes."""


def shown(name: str) -> str:
    r"""A name as any file can hold it: bytes that are no UTF-8 become \xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def encodable(text: str) -> str:
    """A text that UTF-8 can hold."""
    return text.encode("utf-8", "backslashreplace").decode()
