"""What is said, and how: the form of help, and text as one line. Imported at every start, so it imports nothing."""

HELP = {"help_option_names": ["-h", "--help"], "show_default": True, "max_content_width": 100}


def one_line(text: str) -> str:
    """`text` as one printable line: control characters and undecodable bytes of file names are written as escapes."""
    plain = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain)
