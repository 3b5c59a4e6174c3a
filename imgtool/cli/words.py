"""What is said, and how: the form of help, text as one line, advice. Part of every start, it imports nothing."""

from collections.abc import Iterable

HELP = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def one_line(text: str) -> str:
    """`text` as one printable line: control characters and undecodable bytes of file names are written as escapes."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain)


def advice(name: str, known: Iterable[str]) -> str:
    """What to say after an unknown name: the nearest known one, or all of them."""
    from difflib import get_close_matches

    names = list(known)
    nearest = get_close_matches(name, names, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"use one of {', '.join(names)}"
