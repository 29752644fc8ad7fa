"""What the command lines share."""

import argparse
import sys

MOST_SHOWN = 1000
"""Characters of an error: it quotes what was given, which may be long."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line and exit status 2."""

    def error(self, message):
        """Print the message to stderr and exit with status 2."""
        line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(message.split()))
        self.exit(2, f"{self.prog}: {line if len(line) <= MOST_SHOWN else line[:MOST_SHOWN] + ' ...'}\n")


def positive(text):
    """An argument that must be a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive integer")
    return int(text)


def progress(text=""):
    """Show the text in the place of the last on a terminal; nothing where stderr is none."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def note(text):
    """A line on stderr, in the place of the progress."""
    progress()
    print(text, file=sys.stderr)
