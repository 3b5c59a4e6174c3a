"""How often Python looks for garbage in cycles: not while it starts."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_USUAL = gc.get_threshold()
# All that a start makes, some 40,000 objects, is there to stay; looking through it again and again takes a sixth of it.
_RARELY = 200_000


@contextmanager
def rarely_collected() -> Iterator[None]:
    """For a program from its start to its end."""
    gc.set_threshold(_RARELY)
    try:
        yield
    finally:
        gc.set_threshold(*_USUAL)


def collected_as_usual() -> None:
    """From here on, because the work on many images or pages begins: libraries leave some of them in cycles."""
    gc.set_threshold(*_USUAL)
