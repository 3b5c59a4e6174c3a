"""What can go wrong that a user can mend."""


class ImgtoolError(ValueError):
    """A fault in the input, an option or the environment; the message is one sentence that names the way out."""
