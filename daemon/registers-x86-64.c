/* SPDX-License-Identifier: MIT */

/*
 * No function keeps anything in a vector register over a call, by the convention of the platform.
 * Which of them there are, and which the C library uses, is up to the processor.
 */

#include "registers.h"

#define CLEAR(number)     "vpxord %%xmm" #number ", %%xmm" #number ", %%xmm" #number "\n\t"
#define CLEAR_SSE(number) "pxor %%xmm" #number ", %%xmm" #number "\n\t"

#define EIGHT(clear, a, b, c, d, e, f, g, h) \
        clear(a) clear(b) clear(c) clear(d) clear(e) clear(f) clear(g) clear(h)

void registers_clear(void)
{
        __asm__ volatile(EIGHT(CLEAR_SSE, 0, 1, 2, 3, 4, 5, 6, 7)
                                 EIGHT(CLEAR_SSE, 8, 9, 10, 11, 12, 13, 14, 15)::
                                         : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6",
                                           "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                                           "xmm13", "xmm14", "xmm15");
        if (__builtin_cpu_supports("avx"))
                __asm__ volatile("vzeroall");
        /* What clears a part of a register clears all of it. */
        if (__builtin_cpu_supports("avx512vl"))
                __asm__ volatile(EIGHT(CLEAR, 16, 17, 18, 19, 20, 21, 22, 23)
                                         EIGHT(CLEAR, 24, 25, 26, 27, 28, 29, 30, 31)::);
}
