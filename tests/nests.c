/* C twins of two kernels of refconv, loop for loop and in the same places in memory, for callgrind: test_callgrind.py.

   nests conv2d    C H K R lines    refconv/kernels/conv2d.py:    ROWS x VECTORS tiles, whole blocks of channels, stride 1, padding R/2
   nests depthwise C H - R lines    refconv/kernels/depthwise.py: strips of ROWS pixels, R = TAPS, stride 1, padding R/2
   nests none      ...              everything but the nest

   Maps are H x H, C and K multiples of the tile, H one of ROWS. Vectors are 8 floats. Only what `nest` does is of interest; what ran before is
   driven out of the caches first, by loads. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float vector __attribute__((vector_size(32)));
enum { LANES = 8, LINE = 64, LARGEST_CACHE = 1 << 22 };

static vector load(const float *x) { return *(const vector *)x; }
static void store(float *x, vector v) { *(vector *)x = v; }

static void fill(float *out, int elements)
{
    for (int i = 0; i < elements; i += LANES)
        store(out + i, (vector){0});
}

static void copy(float *out, const float *x, int elements)
{
    for (; elements >= 4 * LANES; elements -= 4 * LANES, x += 4 * LANES, out += 4 * LANES) {
        vector a = load(x), b = load(x + LANES), c = load(x + 2 * LANES), d = load(x + 3 * LANES);
        store(out, a), store(out + LANES, b), store(out + 2 * LANES, c), store(out + 3 * LANES, d);
    }
    for (; elements > 0; elements -= LANES, x += LANES, out += LANES)
        store(out, load(x));
}

static void conv2d(const float *x, const float *weight, float *out, float *staged, int channels, int size, int k_all, int kernel, int block)
{
    int pad = kernel / 2, line = (size + 2 * pad) * channels, vector_stride = kernel * kernel * channels * LANES;
    for (int p_first = 0; p_first < size; p_first += block) {
        int count = size - p_first < block ? size - p_first : block;
        for (int i = 0; i < count + kernel - 1; i++) {
            int row = p_first - pad + i;
            float *to = staged + i * line;
            if (row < 0 || row >= size)
                fill(to, line);
            else {
                fill(to, pad * channels);
                copy(to + pad * channels, x + row * size * channels, size * channels);
                fill(to + (pad + size) * channels, pad * channels);
            }
        }
        for (int k = 0; k < k_all; k += VECTORS * LANES)
            for (int p = 0; p < count; p++)
                for (int q = 0; q < size; q += ROWS) {
                    vector acc[ROWS][VECTORS] = {0};
                    const float *w = weight + k / LANES * vector_stride;
                    for (int r = 0; r < kernel; r++) {
                        const float *at = staged + (p + r) * line + q * channels;
                        for (int i = 0; i < kernel * channels; i++, w += LANES) {
                            vector row[VECTORS];
#pragma GCC unroll 16
                            for (int v = 0; v < VECTORS; v++)
                                row[v] = load(w + v * vector_stride);
#pragma GCC unroll 16
                            for (int j = 0; j < ROWS; j++)
#pragma GCC unroll 16
                                for (int v = 0; v < VECTORS; v++)
                                    acc[j][v] += at[i + j * channels] * row[v];
                        }
                    }
#pragma GCC unroll 16
                    for (int j = 0; j < ROWS; j++)
#pragma GCC unroll 16
                        for (int v = 0; v < VECTORS; v++)
                            store(out + ((p_first + p) * size + q + j) * k_all + k + v * LANES, acc[j][v]);
                }
    }
}

static void depthwise(const float *x, const float *weight, float *out, int channels, int size)
{
    int pad = TAPS / 2;
    for (int p = 0; p < size; p++)
        for (int c = 0; c < channels; c += LANES)
            for (int q = 0; q < size; q += ROWS) {
                vector acc[ROWS] = {0};
                for (int r = 0; r < TAPS; r++) {
                    int row = p - pad + r;
                    if (row < 0 || row >= size)
                        continue;
                    const float *at = x + (row * size + q - pad) * channels + c, *w = weight + (c * TAPS + r * LANES) * TAPS;
                    vector taps[TAPS];
#pragma GCC unroll 16
                    for (int s = 0; s < TAPS; s++)
                        taps[s] = load(w + s * LANES);
#pragma GCC unroll 16
                    for (int i = 0; i < ROWS + TAPS - 1; i++)
                        if (q - pad + i >= 0 && q - pad + i < size) {
                            vector pixel = load(at + i * channels);
#pragma GCC unroll 16
                            for (int s = 0; s < TAPS; s++)
                                if (i - s >= 0 && i - s < ROWS)
                                    acc[i - s] += pixel * taps[s];
                        }
                }
#pragma GCC unroll 16
                for (int j = 0; j < ROWS; j++)
                    store(out + (p * size + q + j) * channels + c, acc[j]);
            }
}

/* The whole run, collected by callgrind. Not inlined, so that it has a name. */
__attribute__((noinline)) void nest(const char *which, float *x, float *weight, float *out, float *staged, const int *n)
{
    if (which[0] == 'c')
        conv2d(x, weight, out, staged, n[0], n[1], n[2], n[3], n[4]);
    if (which[0] == 'd')
        depthwise(x, weight, out, n[0], n[1]);
}

static size_t lines(size_t elements) { return (elements * sizeof(float) + LINE - 1) / LINE * LINE; }

int main(int argc, char **argv)
{
    int n[5], dense = argc > 1 && argv[1][0] == 'c';
    if (argc != 7)
        return 2;
    for (int i = 0; i < 5; i++)
        n[i] = atoi(argv[i + 2]);
    size_t image = lines((size_t)n[1] * n[1] * n[0]);
    size_t weight = lines((size_t)n[0] * n[3] * n[3] * (dense ? n[2] : 1));
    size_t out = lines((size_t)n[1] * n[1] * (dense ? n[2] : n[0]));
    size_t staged = lines((size_t)(n[4] + n[3] - 1) * (n[1] + n[3] - 1) * n[0]);
    char *memory = aligned_alloc(LARGEST_CACHE, (image + weight + out + staged + LARGEST_CACHE - 1) / LARGEST_CACHE * LARGEST_CACHE);
    const volatile char *other = aligned_alloc(LARGEST_CACHE, 2 * LARGEST_CACHE);
    if (!memory || !other)
        return 3;
    for (size_t i = 0; i < 2 * LARGEST_CACHE; i += LINE)
        (void)other[i];
    nest(argv[1], (float *)memory, (float *)(memory + image), (float *)(memory + image + weight), (float *)(memory + image + weight + out), n);
    return 0;
}
