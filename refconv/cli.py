"""What the command lines share."""

import argparse


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line and exit status 2."""

    def error(self, message):
        """Print the message to stderr and exit with status 2."""
        self.exit(2, f"{self.prog}: {' '.join(message.split())}\n")


def positive(text):
    """An argument that must be a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive integer")
    return int(text)
