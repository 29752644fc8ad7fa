"""What the command lines share: arguments, lines on stderr, and how a command ends."""

import argparse
import contextlib
import multiprocessing.process
import multiprocessing.util
import os
import signal
import sys
import threading
import warnings

MOST_SHOWN = 1000
"""The most characters of an error that are shown: it quotes what was given, which may be long."""
INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, as a shell gives it."""
MODEL_OPTIONS = {"input_shapes": "--input-shape", "batch": "--batch"}
"""The options of a command line that reads a network, by the argument of refconv.graph.read.read_model."""
NETWORK_OPTIONS = {**MODEL_OPTIONS, "size": "--size"}
"""Those of a command line that runs one, by the argument of refconv.networks.opened."""


class Parser(argparse.ArgumentParser):
    """argparse with errors of one line and exit status 2."""

    def print_help(self, file=None):
        """Print the help; argparse's own method counts a stdout that cannot be written as success."""
        print(self.format_help(), end="", file=file)

    def error(self, message):
        """Print the message to stderr and exit with status 2."""
        self.exit(2, f"{self.prog}: {one_line(message)}\n")


def one_line(text):
    """A text as one printable line that is not too long."""
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(str(text).split()))
    return line if len(line) <= MOST_SHOWN else line[:MOST_SHOWN] + " ..."


def positive(text):
    """An argument that must be a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: must be a positive integer")
    return int(text)


@contextlib.contextmanager
def in_options(options):
    """Where a call of the library raises a ValueError, which names arguments, it names options instead. options: {argument: option}."""
    try:
        yield
    except ValueError as error:
        text = str(error)
        for argument, option in options.items():
            text = text.replace(f"{argument} = ", f"{option} ")
        raise ValueError(text) from None


def on_terminal():
    """Whether stderr is a terminal."""
    with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, a closed file
        return sys.stderr is not None and sys.stderr.isatty()
    return False


def progress(text=""):
    """Show the text instead of the last one on a terminal; nothing where stderr is not a terminal."""
    with contextlib.suppress(OSError, ValueError):
        if on_terminal():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def note(text):
    """A line on stderr, instead of the progress."""
    progress()
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:  # print would take stdout
            print(text, file=sys.stderr)


def door(main):
    """Run a command line and leave the process with its status: the end of every `python -m` of this project.

    main() returns the status, 2 for bad input. Here: 2 and one line where stdout cannot be written; 130 and one line after Ctrl-C; 0 where the
    reader of a pipe has seen enough. Warnings are a line each.
    """
    end_on_interrupt()
    warnings.showwarning = lambda message, *_, **__: note(f"{_program()}: {one_line(message)}")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None:
        note(f"{_program()}: stdout: is closed")
        raise SystemExit(2)
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            status = main()
        except SystemExit as stop:
            if isinstance(stop.__context__, BrokenPipeError):  # rich exits with 1
                raise stop.__context__ from None
            status = stop.code
        sys.stdout.flush()
    except KeyboardInterrupt:
        _interrupted()
    except BrokenPipeError:
        status = 0
        _discard_stdout()
    except OSError as error:
        note(f"{_program()}: {error.filename or 'stdout'}: {error.strerror or error}")
        status = 2
        _discard_stdout()
    raise SystemExit(status)


def _discard_stdout():
    """Keep the interpreter from trying again, at its end, to write what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def contents(package, about, doors):
    """A main() for `python -m PACKAGE`: say what there is. doors: {name: what it does} of its command lines."""
    width = max(map(len, doors)) + len(package) + 1
    listed = "\n".join(f"  python -m {f'{package}.{name}':<{width}}   {text}" for name, text in doors.items())
    layout = argparse.RawDescriptionHelpFormatter
    command = Parser(prog=package, usage=f"python -m {package}.NAME [--help]", description=about, epilog=listed, formatter_class=layout)

    def main():
        command.parse_args()
        command.print_help()
        return 0

    return main


def end_on_interrupt():
    """From now on Ctrl-C ends this process at once: one line on stderr, status 130, its worker processes ended.

    A KeyboardInterrupt would wait until the interpreter has its turn, minutes where a kernel is running, could be caught by anything on its
    way (a C function that calls Python swallows it), and ends in the traceback of whatever was running. So a thread waits for the signal.
    Nothing changes where Ctrl-C is ignored or has another handler already, nor outside the main thread.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, lambda *_: None)  # the signal's number goes to the pipe

    def wait():
        while os.read(reading, 1) != bytes([signal.SIGINT]):
            pass
        _interrupted()

    threading.Thread(target=wait, name="interrupts", daemon=True).start()


def _interrupted():
    """End this process and the workers that it has started."""
    for worker in multiprocessing.process.active_children():
        worker.terminate()
    with contextlib.suppress(Exception):
        multiprocessing.util._run_finalizers(0)  # the semaphores of a pool have names, which would be left over
    with contextlib.suppress(OSError):
        shown = b"\r\033[K\033[?25h" if os.isatty(2) else b""  # no progress, and the cursor that a progress bar hides
        os.write(2, shown + f"{_program()}: interrupted\n".encode())
    os._exit(INTERRUPTED)


def asked_for(*packages):
    """Whether Python runs a module of these packages: `python -m MODULE`, whose packages are imported first, while sys.argv begins with "-m"."""
    program, first = _program(), (sys.argv or [""])[0]
    path = os.path.join("", *program.split("."))
    return program.partition(".")[0] in packages and (first == "-m" or first.endswith((f"{path}.py", os.path.join(path, "__main__.py"))))


def _program():
    """The module of `python -m MODULE`, else the script."""
    words = sys.orig_argv
    return words[words.index("-m") + 1] if "-m" in words[:-1] else os.path.basename(sys.argv[0] or "python")
