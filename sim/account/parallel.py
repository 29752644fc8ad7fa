"""Simulations side by side, in processes of their own: what has to be compiled, too, is compiled side by side, into one cache on disk."""

import collections
import contextlib
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor


def available_cores():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(calls, jobs=1):
    """The results of calls [(function, keywords)], in their order; the calls are begun in that order, too, so longest first is best.

    jobs: processes at most, this one among them: it begins at once, the others take calls as soon as they are there, so that a short list is
    done before. They are spawned (a process that has used Numba's threads must not be forked) and start no threads: traced kernels are
    serial. What a call raises is raised here. Ctrl-C reaches this process alone, which ends the others.
    """
    results, waiting = [None] * len(calls), collections.deque(enumerate(calls))
    others = min(jobs, len(calls)) - 1

    def take():
        with contextlib.suppress(IndexError):
            return waiting.popleft()

    def work(run):
        try:
            for i, call in iter(take, None):
                results[i] = run(*call)
                advance()
        except BaseException:
            waiting.clear()
            raise

    with bar(len(calls)) as advance:
        if others < 1:
            work(here)
            return results
        with (
            ProcessPoolExecutor(others, multiprocessing.get_context("spawn")) as pool,
            ThreadPoolExecutor(others, initializer=_without_interrupts) as threads,
        ):

            def there(function, keywords):
                return pool.submit(here, function, keywords).result()

            def begin():
                there(dict, {})  # the process has started, and imported what it needs, when this returns
                work(there)

            begun = [threads.submit(begin) for _ in range(others)]
            try:
                work(here)
                for thread in begun:
                    thread.result()
            except KeyboardInterrupt:  # or they would finish what they have begun
                for process in multiprocessing.active_children():
                    process.terminate()
                raise
    return results


def _without_interrupts():
    """Ctrl-C does not reach processes that this thread starts: they inherit its signal mask."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def here(function, keywords):
    """Call a function in this process."""
    return function(**keywords)


@contextlib.contextmanager
def bar(total):
    """A progress bar on stderr: yields what advances it. Nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("simulating", total=total)
        yield lambda: shown.advance(task)
