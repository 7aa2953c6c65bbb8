"""What can go wrong on the way to a running installation."""


class StackError(Exception):
    """The stack can't be started or can't go on; the message says what is in the way and what to do."""
