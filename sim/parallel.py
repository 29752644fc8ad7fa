"""Simulations side by side, in processes of their own: what has to be compiled, too, is compiled side by side, into one cache on disk."""

import contextlib
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed


def cores():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(calls, jobs=1):
    """The results of calls [(function, keywords)], in their order; the calls are begun in that order, too, so longest first is best.

    jobs: processes at most. Processes are spawned (one that has used Numba's threads must not be forked) and start no threads:
    traced kernels are serial. What a call raises is raised here.
    """
    results = [None] * len(calls)
    with bar(len(calls)) as advance:
        if min(jobs, len(calls)) <= 1:
            for i, (function, keywords) in enumerate(calls):
                results[i] = function(**keywords)
                advance()
            return results
        with ProcessPoolExecutor(min(jobs, len(calls)), multiprocessing.get_context("spawn")) as pool:
            running = {pool.submit(function, **keywords): i for i, (function, keywords) in enumerate(calls)}
            try:
                for done in as_completed(running):
                    results[running[done]] = done.result()
                    advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return results


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
