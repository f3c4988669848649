"""Exact GELU inside Triton kernels: the normal distribution function, and GELU's derivative."""

import triton
import triton.language as tl

# Phi(x) = (1 + tanh(x (A + B x^2 + C x^4))) / 2 for |x| <= LIMIT, fitted to the largest error of x Phi(x)
# (3.8e-5) and of its derivative (9.3e-5): a fiftieth of bfloat16's rounding (4e-3). One instruction of the
# special function unit, where erf takes some thirty ordinary ones.
A = tl.constexpr(0.797423004)
B = tl.constexpr(0.0370028024)
C = tl.constexpr(-0.000346910644)
LIMIT = tl.constexpr(5.0)


@triton.jit
def gelu_parts(x, FAST: tl.constexpr):
    """Phi(x) and d(x Phi(x))/dx of a float32 tensor; FAST: to the precision of bfloat16, on GPUs only."""
    if FAST:
        # (1 - tanh^2) / 2 is 2 Phi (1 - Phi). Beyond the limit `inner` goes on as a line, where tanh is 1.
        square = tl.minimum(x * x, LIMIT * LIMIT)
        inner = x * ((C * square + B) * square + A)
        t = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=tl.float32, is_pure=True, pack=1
        )
        cdf = 0.5 * t + 0.5
        rest = x * (cdf - cdf * cdf)
        return cdf, rest * ((10 * C * square + 6 * B) * square + 2 * A) + cdf
    cdf = 0.5 * (1 + tl.erf(x * 0.7071067811865476))
    return cdf, cdf + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
