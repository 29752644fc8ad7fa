"""How routines are compiled: into the kernels that use them, and nowhere else.

A function that is inlined wherever it is called never runs by itself. Numba optimises it all the same, with everything that it calls, and makes
machine code of it; then its caller again with the same code inside, and so on up to the kernel. For a fused block, five routines deep, that was
two thirds of the time in LLVM. Here a routine is typed and written down in LLVM's language, once; what runs, a kernel, takes in the code of all
routines under it and is optimised as a whole.

The classes use what Numba offers to those who write compiler pipelines, and of its code libraries and passes three names that are its own affair
(`_get_module_for_linking`, `_final_module`, `_linking_libraries`).
"""

from numba.core import compiler_machinery, typed_passes, untyped_passes
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class RoutineLibrary(JITCodeLibrary):
    """The code of one routine, there to be linked: neither optimised nor made machine code of."""

    _whole = None

    def finalize(self):
        """Take no more code."""
        self._raise_if_finalized()
        self._finalized = True

    def _get_module_for_linking(self):
        """The routine's code with that of all routines under it, each once."""
        if self._whole is None:
            self._whole = self._final_module.clone()
            met, left = {self}, list(self._linking_libraries)
            while left:
                library = left.pop()
                if library not in met:
                    met.add(library)
                    routine = isinstance(library, RoutineLibrary)
                    left += library._linking_libraries if routine else ()
                    self._whole.link_in(library._final_module if routine else library._get_module_for_linking(), preserve=True)
            for function in self._whole.functions:
                if not function.is_declaration:
                    function.linkage = "linkonce_odr"
        return self._whole


@compiler_machinery.register_pass(mutates_CFG=False, analysis_only=False)
class RoutineLowering(typed_passes.NativeLowering):
    """Numba's, but for the address of machine code."""

    _name = "routine_lowering"

    def run_pass(self, state):
        """Callers know a routine by an object of its own, which has to be a built-in method and is not called: there is no machine code."""
        state.flags.no_compile = True
        super().run_pass(state)
        known = [state.func_id.func].append
        state.targetctx.insert_user_function(known, state.cr.fndesc, [state.library])
        state["cr"] = state.cr._replace(cfunc=known)
        return True


LEFT_OUT = {
    untyped_passes.WithLifting,
    untyped_passes.InlineClosureLikes,
    untyped_passes.MakeFunctionToJitFunction,
    untyped_passes.InlineInlinables,
    untyped_passes.FindLiterallyCalls,
    untyped_passes.LiteralUnroll,
    untyped_passes.RewriteDynamicRaises,
    typed_passes.InlineOverloads,
    typed_passes.NopythonRewrites,
    typed_passes.DumpParforDiagnostics,
}
"""Numba's passes for what no routine has: closures, `with`, `raise`, arrays as values. After each the whole function is looked through again."""


class RoutineCompiler(Compiler):
    """Numba's compiler with a RoutineLibrary to put the code in."""

    def define_pipelines(self):
        """Numba's passes, but for those LEFT_OUT and the last step of lowering."""
        state = self.state
        state.library = RoutineLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()  # as every library is: engines ask for its object
        short = compiler_machinery.PassManager("routine")
        for manager in super().define_pipelines():
            for step, description in manager.passes:
                if step not in LEFT_OUT:
                    short.add_pass(RoutineLowering if step is typed_passes.NativeLowering else step, description)
        short.finalize()
        return [short]


INLINED = {"forceinline": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True, "pipeline_class": RoutineCompiler}
"""Numba's options for a routine and for an @overload that is one."""
