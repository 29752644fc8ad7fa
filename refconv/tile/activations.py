"""Activations as one instruction on registers: activate(tile, kind), with kind from ACTIVATIONS.

It runs between the products of a kernel and on the ports of its multiply-adds, so what counts is the number of vector operations. For
float32 with AVX-512: relu 1, relu6 2, hardsigmoid 3, hardswish 4, sigmoid 14, silu 15, gelu 16, gelu_tanh 17, beside the loads of constants.
No library is called on any target, and float32 with AVX-512 does not divide.

At -infinity silu, gelu_tanh and hardswish are NaN, as in torch: x times a factor that has reached zero; gelu is 0, its limit. NaN gives NaN.
The polynomials are derived here: minimax fits by Remez exchange in 60 digits (gelu of float32: a linear program), rounded to the type.
"""

import functools
import math

import numpy as np
from llvmlite import ir
from numba.core import cgutils

from refconv import host
from refconv.problem.activations import DEFINITIONS
from refconv.tile.llvm import elementwise, multiply_add
from refconv.tile.machine import implement

MAX_ERROR = {
    "identity": {"float32": 0.0, "float64": 0.0},
    "relu": {"float32": 0.0, "float64": 0.0},
    "relu6": {"float32": 0.0, "float64": 0.0},
    "silu": {"float32": 2.5e-7, "float64": 6e-16},
    "gelu": {"float32": 3e-7, "float64": 6e-16},
    "gelu_tanh": {"float32": 2.5e-7, "float64": 6e-16},
    "hardswish": {"float32": 1.5e-7, "float64": 4e-16},
    "sigmoid": {"float32": 1.5e-7, "float64": 4e-16},
    "hardsigmoid": {"float32": 5e-8, "float64": 2e-16},
}
"""The most by which a result differs from the definition f at the same x, divided by max(1, |f(x)|), for every finite x.

It is absolute where f is small: of silu's and gelu's tails towards zero few digits are right.
"""


def activate(tile, kind):
    """DEFINITIONS of the activation `kind` of every element: computed in float64 and rounded. Compiled code keeps to MAX_ERROR."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return list(DEFINITIONS.values())[kind](tile.astype(np.float64)).astype(tile.dtype)


# fmt: off
# 2^f for 0 <= f <= 1, from the constant up, exact at both ends; the relative error, coefficients rounded, is 1.0e-7 and 4.7e-18.
EXP2 = {
    "f32": (1.0, 0.693151739, 0.240159271, 0.0558186762, 0.00899099468, 0.00187931885),
    "f64": (
        1.0, 0.693147180559946, 0.24022650695906156, 0.05550410866563528, 0.009618129099246076, 0.0013333558645578381,
        0.00015403511793257474, 1.525318563004653e-05, 1.3208229390487154e-06, 1.0254321220769546e-07, 6.554520622583321e-09,
        6.273188009853336e-10,
    ),
}

# log2 of Phi(-y), Phi being the normal distribution function, for 0 <= y <= FAR: y Phi(-y) has the absolute error 1.45e-7 and 1.7e-17. From
# y = 6 (float32) or 9 on, where y Phi(-y) is that small, the polynomial only has to fall; at FAR it is below -150 and -1075, that is
# 2^it = 0. Directly, Phi(x) = 1/2 + x P(x^2) clamped to |x| < 5.5 needs 14 coefficients for 4e-7 (measured by the same fit), and cancels.
FAR = 16.0
LOG2_PHI = {
    "f32": (-1.0, -1.15111682, -0.459045368, -0.053041973, 0.00784367317, -0.000698141232, 2.51057494e-05),
    "f64": (
        -1.0, -1.1511040990719856, -0.4592240942695113, -0.052421193241275386, 0.006899128231088508, 5.335525921821702e-05,
        -0.000305899717701964, 7.527833961788599e-05, -2.382533880923739e-06, -4.043436280262414e-06, 1.265278614576789e-06,
        -4.369429388287507e-08, -1.0916074921213005e-07, 5.327381101043791e-08, -1.548495523881866e-08, 3.27298545071196e-09,
        -5.288776790686871e-10, 6.590692177544714e-11, -6.254428415740257e-12, 4.379080122275255e-13, -2.13326706953749e-14,
        6.453285988015378e-16, -9.118742989240669e-18,
    ),
}
# fmt: on

FLOOR, SMALLER_MAGNITUDE = 0b0001, 0b1010  # immediates: of VREDUCE, round down; of VRANGE, min(|a|, |b|)
CURRENT_ROUNDING = ir.Constant(ir.IntType(32), 4)


@functools.cache
def target_has_avx512dq():
    """Whether the compiler's target has AVX-512 with its DQ part, asked by a conversion that is one instruction only there."""
    source = "define <8 x double> @f(<8 x i64> %a) {\n %r = sitofp <8 x i64> %a to <8 x double>\n ret <8 x double> %r\n}"
    return "vcvtqq2pd" in host.assembly(source)


class _Vectors:
    """Arithmetic on vectors of one type at the builder's place; numbers may stand for vectors."""

    def __init__(self, builder, kind):
        self.builder, self.kind = builder, kind
        self.type_name, self.mantissa, self.bias = ("f32", 23, 127) if isinstance(kind.element, ir.FloatType) else ("f64", 52, 1023)
        self.bits = ir.IntType(32 if self.type_name == "f32" else 64)
        self.avx512 = kind.count * self.bits.width == 512 and target_has_avx512dq()

    def vector(self, value):
        return value if isinstance(value, ir.Value) else ir.Constant(self.kind, [float(value)] * self.kind.count)

    def add(self, a, b):
        return self.builder.fadd(self.vector(a), self.vector(b))

    def sub(self, a, b):
        return self.builder.fsub(self.vector(a), self.vector(b))

    def mul(self, a, b):
        return self.builder.fmul(self.vector(a), self.vector(b))

    def fma(self, a, b, c):
        return multiply_add(self.builder, self.vector(a), self.vector(b), self.vector(c))

    def minimum(self, bound, x):
        """The smaller of both; x where it is NaN, as VMINPS gives it in this order."""
        return self.builder.select(self.builder.fcmp_ordered("<", self.vector(bound), x), self.vector(bound), x)

    def maximum(self, bound, x):
        """The larger of both; x where it is NaN."""
        return self.builder.select(self.builder.fcmp_ordered(">", self.vector(bound), x), self.vector(bound), x)

    def polynomial(self, coefficients, x):
        """sum_k coefficients[k] x^k by Horner's rule."""
        result = coefficients[-1]
        for coefficient in coefficients[-2::-1]:
            result = self.fma(result, x, coefficient)
        return result

    def intrinsic(self, name, *args, masked=True):
        """llvm.x86.avx512.<name>.ps.512 or .pd.512, which take, after the operands, what masked lanes keep, the mask and the rounding."""
        args = [*args, ir.Constant(self.kind, None), ir.Constant(ir.IntType(self.kind.count), -1), *([CURRENT_ROUNDING] if masked else [])]
        full_name = f"llvm.x86.avx512.{'mask.' if masked else ''}{name}.{'ps' if self.type_name == 'f32' else 'pd'}.512"
        kind = ir.FunctionType(self.kind, [a.type for a in args])
        return self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, full_name), args)

    def least_magnitude(self, x, bound):
        """min(|x|, bound); either of the two where x is NaN."""
        if self.avx512:
            return self.intrinsic("range", x, self.vector(bound), ir.Constant(ir.IntType(32), SMALLER_MAGNITUDE))
        kind, name = ir.FunctionType(self.kind, [self.kind]), f"llvm.fabs.v{self.kind.count}{self.type_name}"
        return self.minimum(bound, self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), [x]))

    def exp2(self, t):
        """2^t for t <= 64, 0 for t = -infinity: 2^(t - floor(t)) by polynomial times 2^floor(t)."""
        if self.avx512:  # VREDUCE is t - floor(t), 0 of infinity; VSCALEF multiplies by 2^floor(t)
            fraction = self.intrinsic("reduce", t, ir.Constant(ir.IntType(32), FLOOR))
            return self.intrinsic("scalef", self.polynomial(EXP2[self.type_name], fraction), t)
        # Added to 1.5 * 2^mantissa + bias, whose last place is 1, t - 1/2 is rounded to an integer: floor(t), or t - 1. The last bits of
        # the sum are then the exponent field of 2^floor(t), and those of zero where t was no more than -bias.
        magic = 1.5 * 2.0**self.mantissa + self.bias
        t = self.maximum(-self.bias, t)
        shifted = self.add(self.sub(t, 0.5), magic)
        fraction = self.sub(t, self.sub(shifted, magic))
        integers = ir.VectorType(self.bits, self.kind.count)
        exponent = self.builder.shl(self.builder.bitcast(shifted, integers), ir.Constant(integers, [self.mantissa] * self.kind.count))
        return self.mul(self.polynomial(EXP2[self.type_name], fraction), self.builder.bitcast(exponent, self.kind))

    def logistic(self, t):
        """1 / (1 + 2^-t) as e / (1 + e) with e = 2^min(t, 64): 0 for t = -infinity; 2^64 + 1 = 2^64 in either type, so that large t give 1."""
        e = self.exp2(self.minimum(64, t))
        d = self.add(e, 1)
        if not (self.avx512 and self.type_name == "f32"):
            return self.builder.fdiv(e, d)
        # VRCP14 has the relative error 2^-14; one step of Newton's method squares it. silu on tiles of 28 vectors: measured 2.9 to 3.0 ns
        # a vector, 3.1 to 3.3 with VDIVPS.
        estimate = self.intrinsic("rcp14", d, masked=False)
        quotient = self.mul(e, estimate)
        return self.fma(self.fma(self.builder.fneg(d), estimate, 1), quotient, quotient)

    def hard(self, x):
        """clip(x / 6 + 1/2, 0, 1); 1 / 6 is rounded up, so that the clip is exact from |x| = 3 on."""
        sixth = np.float32(1 / 6) if self.type_name == "f32" else np.nextafter(1 / 6, 1)
        return self.maximum(0, self.minimum(1, self.fma(x, sixth, 0.5)))

    def gelu(self, x):
        """x Phi(x) = max(x, 0) - y Phi(-y) with y = |x|, Phi being the normal distribution function: neither a division nor a case is needed."""
        y = self.least_magnitude(x, FAR)
        return self.fma(self.builder.fneg(y), self.exp2(self.polynomial(LOG2_PHI[self.type_name], y)), self.maximum(0, x))


LOG2_E = math.log2(math.e)
TANH_SCALE = math.sqrt(8 / math.pi) * LOG2_E

CODE = {
    "identity": lambda v, x: x,
    "relu": lambda v, x: v.maximum(0, x),
    "relu6": lambda v, x: v.minimum(6, v.maximum(0, x)),
    "silu": lambda v, x: v.mul(x, v.logistic(v.mul(x, LOG2_E))),
    "gelu": lambda v, x: v.gelu(x),
    "gelu_tanh": lambda v, x: v.mul(x, v.logistic(v.mul(x, v.fma(v.mul(x, x), 0.044715 * TANH_SCALE, TANH_SCALE)))),
    "hardswish": lambda v, x: v.mul(x, v.hard(x)),
    "sigmoid": lambda v, x: v.logistic(v.mul(x, LOG2_E)),
    "hardsigmoid": lambda v, x: v.hard(x),
}
"""The vector code of each activation."""


@implement(activate)
def _activate(typing_context, tile, kind):
    code = CODE[list(DEFINITIONS)[kind.value]]

    def codegen(context, builder, signature, args):
        vectors = _Vectors(builder, tile.vector)
        return elementwise(builder, tile, args[0], lambda value, r, v: code(vectors, value))

    return tile(tile, kind), codegen
