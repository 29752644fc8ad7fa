"""`python -m sim.papers`: what the papers measured beside what is computed here, as Markdown on stdout."""

from refconv.cli import Parser
from sim.report.papers import page


def main(argv=None):
    """Run the command line; returns the exit status."""
    about = "Published latencies under their waterlines, what ranks them, and the matrix efficiency measure of all networks: Markdown on stdout."
    command = Parser(prog="sim.papers", description=about)
    command.parse_args(argv)
    try:
        text = "\n".join(page())
    except ImportError as error:
        command.error(str(error))
    print(text)
    return 0
