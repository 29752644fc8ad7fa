/* C twins of two kernels of refconv, loop for loop and in the same places in memory, for valgrind: test_callgrind.py.

   -DNEST=conv2d      refconv/kernels/conv2d.py:    ROWS x VECTORS tiles, units of BLOCK output rows, all OUTPUTS channels
   -DNEST=depthwise   refconv/kernels/depthwise.py: strips of ROWS pixels, all KERNEL taps a step; OUTPUTS is CHANNELS

   Maps are SIZE x SIZE, a multiple of ROWS; stride 1, padding KERNEL / 2; vectors of 8 floats, channels whole tiles of them. All sizes are macros:
   a constant takes no register. WEIGHTS: floats of the packed weights. What ran before `nest` is driven out of the caches first, by loads.
   Prints the address of the tensors and their bytes; with an argument, `nest` does nothing. */
#include <stdio.h>
#include <stdlib.h>

typedef float vector __attribute__((vector_size(32)));
enum { LANES = 8, LINE = 64, LARGEST_CACHE = 1 << 22, PAD = KERNEL / 2, COLUMNS = (SIZE + 2 * PAD) * CHANNELS };

#define UNROLL _Pragma("GCC unroll 64")
#define INLINE static inline __attribute__((always_inline))

/* Loads and stores happen once each, in the order written: the compiler neither swaps nor repeats them. */
#define REGISTER(v) __asm__ volatile("" : "+x"(v)::"memory")

INLINE vector load(const float *x)
{
    vector v = *(const vector *)x;
    REGISTER(v);
    return v;
}

INLINE float load_one(const float *x)
{
    float v = *x;
    REGISTER(v);
    return v;
}

INLINE void store(float *x, vector v)
{
    *(vector *)x = v;
    __asm__ volatile("" ::: "memory");
}

INLINE void fill(float *out, int elements)
{
    for (int i = 0; i < elements; i += LANES)
        store(out + i, (vector){0});
}

INLINE void copy(float *out, const float *x, int elements)
{
    for (; elements >= 4 * LANES; elements -= 4 * LANES, x += 4 * LANES, out += 4 * LANES) {
        vector v[4];
        UNROLL for (int i = 0; i < 4; i++)
            v[i] = load(x + i * LANES);
        UNROLL for (int i = 0; i < 4; i++)
            store(out + i * LANES, v[i]);
    }
    for (; elements > 0; elements -= LANES, x += LANES, out += LANES)
        store(out, load(x));
}

INLINE void conv2d(const float *x, const float *weight, float *out, float *staged)
{
    enum { DEPTH = KERNEL * KERNEL * CHANNELS };
    for (int p_first = 0; p_first < SIZE; p_first += BLOCK) {
        int count = SIZE - p_first < BLOCK ? SIZE - p_first : BLOCK;
        for (int i = 0; i < count + KERNEL - 1; i++) {
            int row = p_first - PAD + i;
            float *to = staged + i * COLUMNS;
            if (row < 0 || row >= SIZE)
                fill(to, COLUMNS);
            else {
                fill(to, PAD * CHANNELS);
                copy(to + PAD * CHANNELS, x + row * SIZE * CHANNELS, SIZE * CHANNELS);
                fill(to + (PAD + SIZE) * CHANNELS, PAD * CHANNELS);
            }
        }
        for (int k = 0; k < OUTPUTS; k += VECTORS * LANES)
            for (int p = 0; p < count; p++)
                for (int q = 0; q < SIZE; q += ROWS) {
                    const float *w = weight + k * DEPTH, *at = staged + p * COLUMNS + q * CHANNELS;
                    float *to = out + ((p_first + p) * SIZE + q) * OUTPUTS + k;
                    vector acc[ROWS][VECTORS];
                    UNROLL for (int j = 0; j < ROWS; j++)
                        UNROLL for (int v = 0; v < VECTORS; v++)
                            acc[j][v] = (vector){0};
                    for (int r = 0; r < KERNEL; r++, at += COLUMNS - KERNEL * CHANNELS)
                        for (int i = 0; i < KERNEL * CHANNELS; i++, w += LANES, at++) {
                            vector row[VECTORS];
                            UNROLL for (int v = 0; v < VECTORS; v++)
                                row[v] = load(w + v * DEPTH * LANES);
                            UNROLL for (int j = 0; j < ROWS; j++) {
                                float element = load_one(at + j * CHANNELS);
                                UNROLL for (int v = 0; v < VECTORS; v++)
                                    acc[j][v] += element * row[v];
                            }
                        }
                    UNROLL for (int j = 0; j < ROWS; j++)
                        UNROLL for (int v = 0; v < VECTORS; v++)
                            store(to + j * OUTPUTS + v * LANES, acc[j][v]);
                }
    }
}

INLINE void depthwise(const float *x, const float *weight, float *out, float *staged)
{
    (void)staged;
    for (int p = 0; p < SIZE; p++)
        for (int q = 0; q < SIZE; q += ROWS)
            for (int c = 0; c < CHANNELS; c += LANES) {
                vector acc[ROWS];
                UNROLL for (int j = 0; j < ROWS; j++)
                    acc[j] = (vector){0};
                for (int r = 0; r < KERNEL; r++) {
                    int row = p - PAD + r;
                    if (row < 0 || row >= SIZE)
                        continue;
                    const float *at = x + (row * SIZE + q - PAD) * CHANNELS + c, *w = weight + (c * KERNEL + r * LANES) * KERNEL;
                    vector taps[KERNEL];
                    UNROLL for (int s = 0; s < KERNEL; s++)
                        taps[s] = load(w + s * LANES);
                    UNROLL for (int i = 0; i < ROWS + KERNEL - 1; i++)
                        if (q - PAD + i >= 0 && q - PAD + i < SIZE) {
                            vector pixel = load(at + i * CHANNELS);
                            UNROLL for (int s = 0; s < KERNEL; s++)
                                if (i - s >= 0 && i - s < ROWS)
                                    acc[i - s] += pixel * taps[s];
                        }
                }
                UNROLL for (int j = 0; j < ROWS; j++)
                    store(out + (p * SIZE + q + j) * CHANNELS + c, acc[j]);
            }
}

/* What callgrind counts: not inlined, so that it has a name. */
__attribute__((noinline)) void nest(float *x, float *weight, float *out, float *staged, int wanted)
{
    if (wanted)
        NEST(x, weight, out, staged);
}

int main(int argc, char **argv)
{
    (void)argv;
    size_t image = SIZE * SIZE * CHANNELS, weight = WEIGHTS, out = SIZE * SIZE * OUTPUTS, staged = (BLOCK + KERNEL - 1) * COLUMNS;
    size_t bytes = (image + weight + out + staged) * sizeof(float); /* each of them whole lines: test_callgrind.py sees to it */
    float *memory = aligned_alloc(LARGEST_CACHE, (bytes + LARGEST_CACHE - 1) / LARGEST_CACHE * LARGEST_CACHE);
    const volatile char *other = aligned_alloc(LARGEST_CACHE, 2 * LARGEST_CACHE);
    if (!memory || !other)
        return 3;
    printf("%p %zu\n", (void *)memory, bytes);
    for (size_t i = 0; i < 2 * LARGEST_CACHE; i += LINE)
        (void)other[i];
    nest(memory, memory + image, memory + image + weight, memory + image + weight + out, argc == 1);
    return 0;
}
