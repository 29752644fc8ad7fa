"""Compiled code on disk: a file for each kernel and tuple of argument types, in a folder named after the sources it was compiled from.

Numba's own disk cache looks at the file that holds a function, not at the helpers the function calls (numba issue 1833): after
an edit of a helper it serves stale code, which for a simulator is a silently wrong count. Here the folder is named by a hash of every
source that has a part in the code, of the versions of Python and Numba, and of the compiler's target. Its index, besides, is one file for
all types of a function, which a full disk or a crash leaves truncated. Here there is no index, and a file begins with a checksum.

Nothing that is wrong with the disk ends a call: one warning names the file, and the kernel is compiled again, or runs from memory.
"""

import contextlib
import functools
import hashlib
import inspect
import os
import pathlib
import pickle
import re
import shutil
import sys
import time
import uuid

import numba
from numba.core import sigutils, types
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.serialize import dumps

from refconv.host import compiler_target
from refconv.messages import warn_caller

STALE_AFTER_S = 30 * 24 * 3600.0
FOLDER = re.compile(r"(code|tuned)-[0-9a-f]{20}")
DIGEST_BYTES = 32

_SOURCES = {}
"""{package: hash of its sources} of the packages that may have a part in compiled code."""
_LOST = []
"""What could not be kept, one text for each."""


def source_hash(*packages):
    """Hexadecimal digest over all .py files in the folders of packages; None where there are none to read (in a zip file, say)."""
    digest, found = hashlib.sha256(), 0
    for package in packages:
        for path in sorted(pathlib.Path(package).rglob("*.py")):
            digest.update(f"{path.relative_to(package.parent)}\0".encode() + path.read_bytes())
            found += 1
    return digest.hexdigest() if found else None


def register(package, init):
    """Say that a package has a part in kernels compiled for types that it defines. init: its __init__.py, beside which its sources lie.

    Called by the package itself: another of the same name, which may be anywhere on the path, is not asked.
    """
    _SOURCES[package] = source_hash(pathlib.Path(init).resolve().parent)


def user_cache():
    """The folder of everything this project keeps on disk: $REFCONV_CACHE_DIR, else in the user's cache folder; None without either."""
    named = os.environ.get("REFCONV_CACHE_DIR")
    if named:
        return pathlib.Path(named)
    try:
        return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path("~/.cache").expanduser()) / "refconv"
    except RuntimeError:  # no HOME, and no such user
        return None


def code_folder(packages, kind="code", *more):
    """The folder of the code that these packages have a part in; None where there is no place for it, or a package has no sources to hash.

    kind: "tuned" is the folder of what has been measured of that code, `more` what it depends on besides.
    """
    hashes, place = [_SOURCES[package] for package in packages], user_cache()
    if place is None or None in hashes:
        return None
    versions = sys.implementation.cache_tag, numba.__version__, compiler_target()
    folder = place / f"{kind}-{hashlib.sha256(repr((versions, hashes, *more)).encode()).hexdigest()[:20]}"
    _use(folder)
    return folder


@functools.cache
def _use(folder):
    """Note the day on a folder, and remove the folders of other sources that no run has used for 30 days."""
    with contextlib.suppress(OSError):  # read-only, or not there yet
        os.utime(folder)
        for other in folder.parent.iterdir():
            with contextlib.suppress(OSError):  # another process may be removing it
                if FOLDER.fullmatch(other.name) and time.time() - other.stat().st_mtime > STALE_AFTER_S:
                    shutil.rmtree(other, ignore_errors=True)


def lost():
    """Whether there is code that this process compiled and could not keep."""
    return bool(_LOST)


def _inner(numba_type):
    """A type, and those of its elements."""
    yield numba_type
    if isinstance(numba_type, types.BaseTuple):
        for part in numba_type:
            yield from _inner(part)
    elif isinstance(numba_type, types.Array):
        yield from _inner(numba_type.dtype)


def _packages(function, arguments):
    """The packages that have a part in the code of a function for these Numba types: refconv, and what defines the function or one of the types."""
    modules = {function.__module__}
    for argument in arguments:
        for part in _inner(argument):
            modules |= {type(part).__module__, getattr(getattr(part, "instance_class", None), "__module__", "")}
    roots = {module.partition(".")[0] for module in modules}
    return tuple(sorted({"refconv", *(roots & _SOURCES.keys())}))


class KernelCache(NullCache):
    """The compiled forms of one function on disk, as a Numba dispatcher asks for them.

    A file holds the SHA-256 of what follows, then a pickle of (key, what Numba makes of a compiled function to be written).
    """

    def __init__(self, function):
        self._function, code = function, function.__code__
        bare = re.sub(r"[^\w.]", "", function.__qualname__)
        self._name = f"{function.__module__.replace('.', '-')}-{bare}-{code.co_firstlineno}"
        self._own = self._source = None
        if function.__module__.partition(".")[0] not in _SOURCES:  # a kernel from elsewhere: a test's, a user's
            try:
                self._own = hashlib.sha256(pathlib.Path(inspect.getfile(function)).read_bytes()).hexdigest()
            except (OSError, TypeError):
                self._source = f"{self._name} has no source file"

    @property
    def cache_path(self):
        """The folder in which code of plain arrays lies."""
        return code_folder(("refconv",))

    def _place(self, signature, codegen):
        """(path or None, key) of the code for a signature."""
        arguments, _ = sigutils.normalize_signature(signature)
        folder = None if self._source else code_folder(_packages(self._function, arguments))
        key = self._name, self._own, hashlib.sha256(self._function.__code__.co_code).hexdigest(), codegen.magic_tuple(), arguments
        named = hashlib.sha256(repr((*key[:-1], list(map(str, arguments)))).encode()).hexdigest()[:16]
        return folder and folder / f"{self._name}-{named}.nbc", key

    def load_overload(self, signature, target_context):
        """The compiled function on disk, or None."""
        target_context.refresh()
        path, key = self._place(signature, target_context.codegen())
        if path is None:
            return None
        try:
            data = path.read_bytes()
            if hashlib.sha256(data[DIGEST_BYTES:]).digest() != data[:DIGEST_BYTES]:
                raise ValueError("the file is damaged")
            kept, reduced = pickle.loads(memoryview(data)[DIGEST_BYTES:])
            return CompileResult._rebuild(target_context, *reduced) if kept == key else None
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # unpickling raises anything; whatever it is, the kernel can be compiled
            warn_caller(f"{path}: cannot be read, so the kernel is compiled again: {said(error)}")
            return None

    def save_overload(self, signature, result):
        """Keep a compiled function."""
        path, key = self._place(signature, result.codegen)
        try:
            if path is None:
                raise OSError(self._source or "there is no home folder; set REFCONV_CACHE_DIR")
            if result.lifted or result.library.has_dynamic_globals:
                raise OSError(f"{self._name} has addresses of this process in it")
            payload = dumps((key, result._reduce()))
            write_whole(path, hashlib.sha256(payload).digest() + payload)
        except OSError as error:
            if not _LOST:  # once: what is wrong with one file is wrong with the next
                text = f"{path or 'compiled code'}: cannot be kept, so every process compiles anew: {said(error)}"
                warn_caller(text)
            _LOST.append(str(path))


def said(error):
    """What an error says, without the path that the message has already."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def write_whole(path, data):
    """The data as a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}.tmp")
    try:
        draft.write_bytes(data)
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


register("refconv", __file__)
