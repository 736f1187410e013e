"""CUDA kernels of the exercises with one mistake each, and the line that has to be named."""

from __future__ import annotations

from dataclasses import dataclass

from epcore.learn.cuda.exercises import EXERCISES


@dataclass(frozen=True)
class Mistake:
    """The solution of `exercise` with `before` replaced by `after`, and `more` likewise; `place` is in the line to name."""

    name: str
    exercise: str
    before: str
    after: str
    kind: str
    place: str
    more: tuple[tuple[str, str], ...] = ()

    def code(self) -> str:
        code = EXERCISES[self.exercise].solution()
        for before, after in ((self.before, self.after), *self.more):
            assert before in code
            code = code.replace(before, after)
        return code

    def line(self) -> int:
        return next(i for i, text in enumerate(self.code().splitlines(), start=1) if self.place in text)


BARRIER = "    __syncthreads();  // the other half of the threads have written theirs\n"
STORE = "  sums[threadIdx.y][threadIdx.x] = sum;"
HALVE = "    if (threadIdx.y < half) sums[threadIdx.y][threadIdx.x] += sums[threadIdx.y + half][threadIdx.x];"
ADDED = "  sums[threadIdx.y][threadIdx.x] = 0;\n  __syncthreads();\n  sums[0][threadIdx.x] += sum;"
OUT = "if (threadIdx.y == 0 && c < C) out[c] = sums[0][threadIdx.x];"
COPIED = "{ float v[2]; memcpy(v, x + i, 8); y[i] = swish_of(v[0]); }"
COLUMNS = "column_sums"
FILTER = "depthwise_backward_filter"
FORWARD = "depthwise_forward"
DATA = "depthwise_backward_data"
REST = "for (int i = 4 * fours + thread; i < n; i += threads) y[i] = swish_of(x[i]);"

# What makes a kernel wrong.
MISTAKES = (
    Mistake("no barrier in the loop", COLUMNS, BARRIER, "", "missing barrier", "+= sums"),
    Mistake(
        "barrier before the store only", COLUMNS, BARRIER, "    if (half == 4) __syncthreads();\n", "missing barrier", "+= sums"
    ),
    Mistake("warp barrier for block barrier", COLUMNS, BARRIER, "    __syncwarp();\n", "missing barrier", "+= sums"),
    Mistake("no barrier in the filter's loop", FILTER, "    __syncthreads();\n", "", "missing barrier", "+= sums"),
    Mistake("all threads add to one place", COLUMNS, STORE, ADDED, "race", "sums[0][threadIdx.x] += sum"),
    Mistake(
        "all rows of the block write", COLUMNS, OUT, "if (c < C) out[c] = sums[threadIdx.y][threadIdx.x];", "race", "out[c] ="
    ),
    Mistake(
        "blocks add to one place", FILTER, "dw[(u * 3 + v) * C + c] =", "dw[v * C + c] =", "race between blocks", "dw[v * C"
    ),
    Mistake("rows of blocks overlap", FORWARD, "i = blockIdx.y,", "i = blockIdx.y / 2,", "race between blocks", "y[(n * OH"),
    Mistake(
        "scattered from all blocks",
        DATA,
        "dx[(n * H + h) * W * C + place] =",
        "dx[n * H * W * C + place] =",
        "race between blocks",
        "dx[n * H",
    ),
    Mistake("one element too many", "swish", REST, REST.replace("i < n", "i <= n"), "out of bounds", "y[i] = swish_of"),
    Mistake("a read past the end", "swish", "swish_of(x[i]);", "swish_of(x[i + 1]);", "out of bounds", "x[i + 1]"),
    Mistake(
        "four at once past the end", "swish", "fours = n / 4", "fours = (n + 3) / 4", "out of bounds", "v = reinterpret_cast"
    ),
    Mistake(
        "no test of the column",
        COLUMNS,
        "if (threadIdx.y == 0 && c < C) out",
        "if (threadIdx.y == 0) out",
        "out of bounds",
        "out[c] =",
    ),
    Mistake("a row above the first", FORWARD, "h < 0 || h >= H", "h >= H", "out of bounds", "sum += x["),
    Mistake("past a shared array", COLUMNS, "int half = 4;", "int half = 8;", "out of bounds", "+= sums"),
    Mistake(
        "past a local array",
        "swish",
        "  const int fours",
        "  float mine[2];\n  mine[thread % 3] = 1;\n  const int fours",
        "out of bounds",
        "mine[thread % 3]",
    ),
    Mistake("memcpy past the end", "swish", "y[i] = swish_of(x[i]);", COPIED, "out of bounds", "memcpy"),
    Mistake("an address of nowhere", "swish", "swish_of(x[i]);", "swish_of(x[i + (1 << 30)]);", "out of bounds", "x[i + (1"),
    Mistake("vector from an odd place", "swish", "(x)[i];", "(x + 1)[i];", "misaligned", "v = reinterpret_cast"),
    Mistake("vector into an odd place", "swish", "(y)[i] = v;", "(y + 2)[i] = v;", "misaligned", "[i] = v;"),
    Mistake(
        "shared sums not set",
        COLUMNS,
        STORE,
        "  if (threadIdx.y < 4) sums[threadIdx.y][threadIdx.x] = sum;",
        "uninitialised",
        "+= sums",
    ),
    Mistake("output added to, not set", FORWARD, "OW * C + place] = sum", "OW * C + place] += sum", "uninitialised", "+= sum;"),
    Mistake(
        "barrier in a branch",
        COLUMNS,
        BARRIER,
        "    if (threadIdx.y < 4) __syncthreads();\n",
        "barrier not reached by all",
        "__syncthreads()",
    ),
    Mistake(
        "early return before a barrier",
        COLUMNS,
        "  float sum = 0;",
        "  if (threadIdx.y > 6) return;\n  float sum = 0;",
        "barrier not reached by all",
        "__syncthreads()",
    ),
    Mistake("a loop without a step", COLUMNS, "r += 8", "r += 0", "endless loop", "r += 0"),
    Mistake(
        "waits for a thread that does not run",
        COLUMNS,
        STORE,
        STORE + "\n  while (sum == sum) continue;",
        "endless loop",
        "while",
    ),
    Mistake(
        "a barrier for ever",
        COLUMNS,
        "int half = 4; half > 0;",
        "unsigned half = 4; half >= 0;",
        "endless loop",
        "unsigned half",
    ),
    Mistake(
        "divides by nothing",
        FORWARD,
        "const int j = place / C,",
        "const int j = place / (OW - OW),",
        "division by zero",
        "/ (OW",
    ),
    Mistake(
        "writes an input",
        "swish",
        "    v.x = swish_of(v.x);",
        "    const_cast<float*>(x)[4 * i] = 0;\n    v.x = swish_of(v.x);",
        "write to an input",
        "const_cast",
    ),
    Mistake(
        "too much shared memory",
        COLUMNS,
        "sums[8][32];",
        "sums[8][32];\n  __shared__ float more[20000];\n  more[threadIdx.x] = 0;",
        "shared memory",
        "more[20000]",
    ),
    Mistake("pads by one", FORWARD, "- left;", "- left + 1;", "wrong result", "y[(n * OH"),
    Mistake("no sigmoid", "swish", "expf(-x)", "expf(x)", "wrong result", "y[i] = swish_of"),
    Mistake("the last rows forgotten", COLUMNS, "r < rows", "r < rows - 1", "wrong result", "out[c] ="),
    Mistake("a member that is none", COLUMNS, "threadIdx.y; r", "threadIdx.w; r", "compile", "threadIdx.w"),
    Mistake("a name that is none", FORWARD, "const int h = i * stride", "const int h = oh * stride", "compile", "= oh"),
)

# What makes it slow: advice.
TURNED = (
    ("sums[threadIdx.y][threadIdx.x]", "sums[threadIdx.x][threadIdx.y]"),
    ("sums[threadIdx.y + half][threadIdx.x]", "sums[threadIdx.x][threadIdx.y + half]"),
    ("sums[0][threadIdx.x]", "sums[threadIdx.x][0]"),
)
BY_PIXEL = (("OW * C + place] = sum", "OW * C + j * C + c] = sum"),)
SLOW = (
    Mistake(
        "neighbours are pixels",
        FORWARD,
        "const int j = place / C, c = place % C;",
        "const int j = place % OW, c = place / OW;",
        "uncoalesced",
        "sum += x[",
        BY_PIXEL,
    ),
    Mistake(
        "neighbours are pixels, backwards",
        DATA,
        "const int k = place / C, c = place % C;",
        "const int k = place % W, c = place / W;",
        "uncoalesced",
        "sum += dy[",
        (("W * C + place] =", "W * C + k * C + c] ="),),
    ),
    Mistake(
        "a run of elements a thread",
        "swish",
        "int i = thread; i < fours; i += threads",
        "int i = 5 * thread; i < min(fours, 5 * thread + 5); ++i",
        "uncoalesced",
        "v = reinterpret_cast",
    ),
    Mistake("turned shared array", COLUMNS, "sums[8][32]", "sums[32][8]", "bank conflict", "= sum;", TURNED),
    Mistake("turned shared array of the filter", FILTER, "sums[8][32]", "sums[32][8]", "bank conflict", "= sum;", TURNED),
    Mistake(
        "every second thread",
        "swish",
        "return x / (1.f + expf(-x));",
        "\n  if (threadIdx.x % 2) return x * (1.f / (1.f + expf(-x)));\n  return x / (1.f + expf(-x));\n",
        "divergent branch",
        "threadIdx.x % 2",
    ),
)
