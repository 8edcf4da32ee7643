"""Texts in the making: one thread draws a piece of each in turn, as long as somebody reads it."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from kindling.errors import ConfigError, DataError, KindlingError
from kindling.inference.serving.json_body import bad, json_of
from kindling.inference.serving.limits import Limits, Refused, busy
from kindling.inference.serving.model import Served

log = logging.getLogger(__name__)
# Texts that are drawn in turn; the others wait.
AT_ONCE = 8
# Of a character of JSON, and of all settings.
MOST_BYTES, MOST_SETTINGS_BYTES = 12, 4096
PROMPT = "prompt"
LENGTH = "length"


@dataclass(eq=False)
class Text:
    """One request's.

    Args:
        pieces: draws them.
        drawn: what was drawn and not yet taken; at the end None, or an error if it comes to none.
    """

    pieces: Iterator[str]
    drawn: deque[str | Exception | None] = field(default_factory=deque)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    # The event loop will look at what was drawn.
    is_told: bool = False
    # Nobody reads it any more.
    given_up: bool = False
    ends_at: float | None = None
    num_pieces: int = 0

    async def parts(self) -> AsyncIterator[str]:
        """What was drawn since the last part.

        Raises:
            Exception: why there is no more.
        """
        while True:
            await self.arrived.wait()
            self.arrived.clear()
            part, last = "", ""
            while self.drawn and isinstance(last := self.drawn.popleft(), str):
                part += last
            if part:
                yield part
            if isinstance(last, Exception):
                raise last
            if last is None:
                return


def read_prompt(content_type: str, body: bytes, model: Served, limits: Limits) -> Iterator[str]:
    """What draws the text that a body asks for.

    Raises:
        Refused: 400 the prompt or a setting is not allowed, 415 no JSON.
    """
    if len(body) > MOST_BYTES * limits.max_length + MOST_SETTINGS_BYTES:
        raise bad("bad_prompt", f"prompt: given {len(body)} bytes; allowed: up to {limits.max_length} characters")
    given = json_of(content_type, body, most_values=len(body))
    names = [PROMPT, *(column.name for column in model.processor.settings)]
    if not isinstance(given, dict) or not isinstance(given.get(PROMPT), str):
        raise bad("bad_prompt", f'given other JSON; allowed: {{"prompt": "<text>"}}, and {", ".join(names[1:])}')
    others = [name for name in given if name not in names]
    if others:
        raise bad("bad_setting", f"given {others[0]!r}; allowed: {', '.join(names)}")
    prompt = given.pop(PROMPT)
    if len(prompt) > limits.max_length:
        raise bad("bad_prompt", f"prompt: given {len(prompt)} characters; allowed: up to {limits.max_length}")
    settings = _defaults(model, limits) | given
    length = settings.get(LENGTH)
    if isinstance(length, int | float) and length > limits.max_length:
        raise bad("bad_setting", f"length: given {length}; allowed: a whole number from 1 up to {limits.max_length}")
    try:
        return model.processor.answer(model.run, prompt, **settings)
    except DataError as error:
        raise bad("bad_prompt", str(error)) from error
    except ConfigError as error:
        raise bad("bad_setting", str(error)) from error


def _defaults(model: Served, limits: Limits) -> dict[str, Any]:
    """Of those settings that the limits are lower than."""
    default = next((each.default for each in model.processor.settings if each.name == LENGTH), None)
    return {LENGTH: limits.max_length} if default and default > limits.max_length else {}


class Writer:
    """Draws texts, one of all that wait in turn, so that a short one need not wait for a long one.

    Args:
        limits: of a text and of the queue.
        seen: is called with the number of pieces of each text, as it ends.
    """

    def __init__(self, limits: Limits, seen: Callable[[int], object]):
        self.limits = limits
        self.seen = seen
        # Requests, in the event loop's view.
        self.waiting = 0
        self._asked: SimpleQueue[Text | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, once no text is in the making."""
        self._asked.put(None)

    def refuse_full(self) -> None:
        """
        Raises:
            Refused: 503 as the queue is full.
        """
        if self.waiting >= self.limits.max_queue:
            raise busy("queue_full", f"{self.limits.max_queue} requests wait already")

    def submit(self, pieces: Iterator[str]) -> Text:
        """
        Raises:
            Refused: 503 as the queue is full.
        """
        self.refuse_full()
        self.waiting += 1
        text = Text(pieces)
        self._asked.put(text)
        return text

    def _work(self) -> None:
        writing: list[Text] = []
        is_over = False
        while not is_over or writing:
            try:
                while len(writing) < AT_ONCE and not is_over:
                    asked = self._asked.get(block=not writing)
                    is_over = asked is None
                    writing += [asked] if asked else []
            except Empty:
                # Those that are there go on.
                pass
            writing = [text for text in writing if self._draws(text)]

    def _draws(self, text: Text) -> bool:
        """Draw one piece; returns whether the text goes on."""
        text.ends_at = text.ends_at or time.monotonic() + self.limits.max_text_s
        found: str | Exception | None = None
        try:
            if time.monotonic() > text.ends_at:
                seconds = f"{self.limits.max_text_s:g} s"
                raise Refused(504, "too_slow", f"given a text that takes longer than {seconds}; ask for a shorter one")
            found = None if text.given_up else next(text.pieces, None)
        except Exception as error:
            # Each runtime has errors of its own.
            found = error
        is_over = not isinstance(found, str)
        text.num_pieces += not is_over
        text.drawn.append(found)
        # A call for each piece would fill the pipe that signals come by.
        if is_over or not text.is_told:
            text.is_told = True
            self._tell(text, is_over=is_over)
        return not is_over

    def _tell(self, text: Text, *, is_over: bool) -> None:
        try:
            self._loop.call_soon_threadsafe(self._deliver, text, is_over)
        except RuntimeError:
            # The loop has ended before its requests.
            log.debug("a text that nobody waits for")

    def _deliver(self, text: Text, is_over: bool) -> None:
        if is_over:
            self.waiting -= 1
            self.seen(text.num_pieces)
        text.is_told = False
        text.arrived.set()


def no_answer(error: Exception) -> Refused | None:
    """What a client is told of an error, if that is the model's own."""
    if isinstance(error, Refused):
        return error
    return Refused(422, "no_answer", str(error)) if isinstance(error, KindlingError) else None
