"""What can go wrong that a user can mend, and how it is said."""


class ImgtoolError(ValueError):
    """A fault in the input, an option or the environment; the message is one sentence that names the way out."""


def one_line(text: str) -> str:
    """`text` as one printable line: control characters and undecodable bytes of file names are written as escapes."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain)
