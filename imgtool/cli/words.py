"""Advice on names. Part of every start, it imports nothing."""

from collections.abc import Iterable


def advice(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest known one, or all of them."""
    from difflib import get_close_matches

    names = list(known)
    nearest = get_close_matches(name, names, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"use one of {', '.join(names)}"
