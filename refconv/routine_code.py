"""How routines are compiled: into the kernels that use them, and nowhere else.

A function that is inlined wherever it is called never runs by itself. Numba optimises it all the same, with everything that it calls, and makes
machine code of it; then its caller again with the same code inside, and so on up to the kernel. For a fused block, five routines deep, that was
two thirds of the time in LLVM. Here the code of a routine is linked into its caller as it was written, and optimised once, in the kernel: a
first call of an FFN block takes 4.7 s instead of 8.9 s (one core, AVX-512).

The two classes use what Numba offers to those who write compiler pipelines, and one method of a code library that is its own affair
(`_optimize_final_module`): a Numba without it would compile routines the slow way.
"""

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class RoutineLibrary(JITCodeLibrary):
    """The code of one routine, there to be linked."""

    def _optimize_final_module(self):
        """Leave the code as it is for callers, and none of it to make machine code of."""
        whole = self._final_module.clone()
        for module, linkage in ((whole, "linkonce_odr"), (self._final_module, "available_externally")):
            for function in module.functions:
                if not function.is_declaration:
                    function.linkage = linkage
        self._shared_module = whole


class RoutineCompiler(Compiler):
    """Numba's compiler with a RoutineLibrary to put the code in."""

    def define_pipelines(self):
        """Numba's passes."""
        state = self.state
        state.library = RoutineLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()  # as every library is: engines ask for its object
        return super().define_pipelines()


INLINED = {"forceinline": True, "no_cfunc_wrapper": True, "pipeline_class": RoutineCompiler}
"""Numba's options for a routine and for an @overload that is one."""
