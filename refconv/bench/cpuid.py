"""What the CPU answers when a program asks for its instruction sets, changed for one process: for peers that ask it and offer no setting.

Linux can let CPUID end in a signal instead of an answer (arch_prctl, ARCH_SET_CPUID; x86-64 CPUs with "CPUID faulting"). The handler asks the CPU
itself, leaves AVX-512 and what goes beyond it out of the answer, and lets the program go on behind the instruction. It holds for the threads that
are started later, not for programs; libraries that have asked already keep their answer.
"""

import ctypes
import functools
import signal
import sys

import llvmlite.binding as llvm

SYS_ARCH_PRCTL, ARCH_SET_CPUID = 158, 0x1012
SA_SIGINFO, SA_NODEFER, SA_ONSTACK = 4, 0x40000000, 0x08000000

BEYOND_AVX2 = {
    (7, 0): {
        "ebx": (16, 17, 21, 26, 27, 28, 30, 31),  # AVX512F, DQ, IFMA, PF, ER, CD, BW, VL
        "ecx": (1, 6, 11, 12, 14),  # VBMI, VBMI2, VNNI, BITALG, VPOPCNTDQ
        "edx": (2, 3, 8, 22, 23, 24, 25),  # 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8
    },
    (7, 1): {
        "eax": (4, 5, 21, 23),  # AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA
        "edx": (4, 5, 8, 10, 19, 21),  # AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX, AVX-VNNI-INT16, AVX10, APX
    },
}
"""{(leaf, subleaf): {register: its bits}} of what a Haswell does not have (Intel SDM, volume 2A, CPUID; oneDNN's AVX2 has no VNNI either)."""

# Places of registers in the ucontext_t of x86-64 Linux (<sys/ucontext.h>), in bytes.
_PLACES = {"ebx": 128, "edx": 136, "eax": 144, "ecx": 152}
_RIP = 168

_HANDLER = """
define void @answer(i32 %signal, ptr %info, ptr %context) {{
  %rip_at = getelementptr i8, ptr %context, i64 {rip}
  %rip = load ptr, ptr %rip_at
  %opcode = load i16, ptr %rip, align 1
  %ours = icmp eq i16 %opcode, u0xA20F
  br i1 %ours, label %cpuid, label %fault
fault:  ; any other one ends the program when the instruction runs again
  %before = call ptr inttoptr (i64 {signal} to ptr)(i32 {sigsegv}, ptr null)
  ret void
cpuid:
  %eax_at = getelementptr i8, ptr %context, i64 {eax}
  %ebx_at = getelementptr i8, ptr %context, i64 {ebx}
  %ecx_at = getelementptr i8, ptr %context, i64 {ecx}
  %edx_at = getelementptr i8, ptr %context, i64 {edx}
  %leaf = load i32, ptr %eax_at
  %sub = load i32, ptr %ecx_at
  {allow}
  %found = call {{i32, i32, i32, i32}} asm sideeffect "cpuid", "={{eax}},={{ebx}},={{ecx}},={{edx}},{{eax}},{{ecx}}"(i32 %leaf, i32 %sub)
  {forbid}
  %eax = extractvalue {{i32, i32, i32, i32}} %found, 0
  %ebx = extractvalue {{i32, i32, i32, i32}} %found, 1
  %ecx = extractvalue {{i32, i32, i32, i32}} %found, 2
  %edx = extractvalue {{i32, i32, i32, i32}} %found, 3
{masks}
  %next = getelementptr i8, ptr %rip, i64 2
  store ptr %next, ptr %rip_at
  ret void
}}
"""


def _handler_source(signal_address):
    """The signal handler in LLVM's language; signal_address: of the C library's signal()."""
    lines = []
    values = dict.fromkeys(_PLACES, 0)  # how often a register has been masked, in the name of its value
    name = lambda register: f"%{register}" + (f".{values[register]}" if values[register] else "")
    for i, ((leaf, sub), registers) in enumerate(BEYOND_AVX2.items()):
        lines += [f"%leaf.{i} = icmp eq i32 %leaf, {leaf}", f"%sub.{i} = icmp eq i32 %sub, {sub}", f"%here.{i} = and i1 %leaf.{i}, %sub.{i}"]
        for register, bits in registers.items():
            kept, before = 0xFFFFFFFF ^ sum(1 << bit for bit in bits), name(register)
            values[register] += 1
            lines += [f"%masked.{i}.{register} = and i32 {before}, {kept}"]
            lines += [f"{name(register)} = select i1 %here.{i}, i32 %masked.{i}.{register}, i32 {before}"]
    for register in _PLACES:
        lines += [f"%wide.{register} = zext i32 {name(register)} to i64", f"store i64 %wide.{register}, ptr %{register}_at"]
    call = 'call i64 asm sideeffect "syscall", "={{rax}},{{rax}},{{rdi}},{{rsi}},~{{rcx}},~{{r11}},~{{memory}}"(i64 {}, i64 {}, i64 {})'
    switch = lambda allowed: call.format(SYS_ARCH_PRCTL, ARCH_SET_CPUID, allowed)
    return _HANDLER.format(
        rip=_RIP,
        signal=signal_address,
        sigsegv=int(signal.SIGSEGV),
        allow=f"%allowed = {switch(1)}",
        forbid=f"%forbidden = {switch(0)}",
        masks="\n".join(f"  {line}" for line in lines),
        **_PLACES,
    )


class _Action(ctypes.Structure):
    """struct sigaction of the C library on x86-64 Linux."""

    _fields_ = (("handler", ctypes.c_void_p), ("mask", ctypes.c_uint64 * 16), ("flags", ctypes.c_int), ("restorer", ctypes.c_void_p))


@functools.cache
def hide_beyond_avx2():
    """From now on let CPUID answer without AVX-512 in this process; False, and nothing changed, where that cannot be had."""
    if sys.platform != "linux" or llvm.get_process_triple().split("-")[0] != "x86_64":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    action, before = _Action(_handler(ctypes.cast(libc.signal, ctypes.c_void_p).value)), _Action()
    action.flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK
    if libc.sigaction(int(signal.SIGSEGV), ctypes.byref(action), ctypes.byref(before)) != 0:
        return False
    if libc.syscall(SYS_ARCH_PRCTL, ARCH_SET_CPUID, 0) != 0:
        libc.sigaction(int(signal.SIGSEGV), ctypes.byref(before), None)
        return False
    return not llvm.get_host_cpu_features().get("avx512f")


_ENGINES = []
"""The compiled handler, for as long as the process lives."""


def _handler(signal_address):
    """The address of the compiled handler."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    module = llvm.parse_assembly(_handler_source(signal_address))
    module.verify()
    engine = llvm.create_mcjit_compiler(module, llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine())
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine.get_function_address("answer")
