"""Machine code as LLVM writes it: functions, straight pieces of code, and which of them does the work.

A piece ("block") has no jump in it and no label but at its beginning. Loops are found as compilers find them: a jump back to a
piece from which one comes to the jump, and all pieces on the way. The work of a kernel is in the piece of a loop with the most
vector multiply-adds; of kernels without any, in the innermost loop, in the piece with the most vector arithmetic, or moves.
The multiply-adds of a piece that divides too are a polynomial of the exponential: they count as other arithmetic there, or
every activation would outweigh the sum before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_LABEL = re.compile(r'^("[^"]*"|[^\s"#:]+):')
_LOCAL = re.compile(r"\.L|L?BB\d|Lloh|ltmp|Ltmp|LCPI|Lfunc")
_ESCAPED = re.compile(r"_([0-9a-f]{2})")

# x86 (AT&T syntax: the destination stands last) and AArch64, whose vector operands have a shape ("v0.4s") or 128 bits ("q0").
_MULTIPLY_ADD = re.compile(r"vfn?m(add|sub)\w*p[sd]|fml[as]")
_ARITHMETIC = re.compile(
    r"v?(add|sub|mul|div|max|min|cmp\w*|blend\w*|and|andn|or|xor|rndscale|scalef|sqrt|cvt\w*)p[sd]2?\w*|vcvt\w+|"
    r"f(add|sub|mul|div|max|min|maxnm|minnm|cm\w+|neg|sqrt)|bsl|bi[tf]"
)
_MOVE = re.compile(r"v?mov[ua]p[sd]|v?broadcasts[sd]|ldp|ldr|ldur|stp|str|stur|ld1r?|st1")
_LEAVES = re.compile(r"jmpq?|retq?|ud2|b|br|brk")  # what does not come to the line below
_DIVISION = re.compile(r"v?divp[sd]|fdiv")
_VECTOR_OPERAND = re.compile(r"[xyz]mm\d|\bv\d+\.|\bq\d+\b")


@dataclass(frozen=True)
class Block:
    """A straight piece of code. label: "" where it has none; depth: loops of its function that it is in; closes: whether it is
    a loop by itself."""

    label: str
    lines: tuple[str, ...]
    depth: int
    closes: bool

    @property
    def multiply_adds(self) -> int:
        """Vector instructions that multiply and add in one."""
        return sum(_is(_MULTIPLY_ADD, line) for line in self.lines)

    @property
    def arithmetic(self) -> int:
        """Other vector instructions that compute or compare."""
        return sum(_is(_ARITHMETIC, line) for line in self.lines)

    @property
    def moves(self) -> int:
        """Vector instructions that load, store or copy and do nothing else."""
        return sum(_is(_MOVE, line) for line in self.lines)

    @property
    def loads(self) -> int:
        """Vector instructions that read memory, those that compute with what they read included."""
        return sum(_VECTOR_OPERAND.search(line) is not None and _reads(line) for line in self.lines)

    @property
    def stores(self) -> int:
        """Vector instructions that write memory."""
        return sum(_VECTOR_OPERAND.search(line) is not None and _writes(line) for line in self.lines)

    @property
    def works(self) -> bool:
        """Whether there are vectors in it at all."""
        return self.multiply_adds + self.arithmetic + self.moves > 0

    @property
    def weight(self) -> tuple[int, ...]:
        """The greater, the more of the work is here; of equal ones the shorter is."""
        sums = 0 if any(_is(_DIVISION, line) for line in self.lines) else self.multiply_adds
        loop = self.depth > 0 and self.works
        return loop, sums, self.depth, self.multiply_adds + self.arithmetic, self.moves, -len(self.lines)


@dataclass(frozen=True)
class Function:
    """One function. symbol: as the linker knows it; lines: labels and instructions, without directives."""

    symbol: str
    lines: tuple[str, ...]
    blocks: tuple[Block, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """What it is called in Python, as far as the symbol says."""
        return readable(self.symbol)

    @property
    def hottest(self) -> Block:
        return max(self.blocks, key=lambda block: block.weight)


def functions(assembly: str) -> list[Function]:
    """All functions of a module's assembly that have instructions, in its order."""
    found: list[Function] = []
    symbol = ""
    lines: list[str] = []
    for line in [*assembly.splitlines(), "end:"]:
        label = _LABEL.match(line)
        if label and not _LOCAL.match(label[1]):
            if any(not each.endswith(":") for each in lines):
                found.append(Function(symbol, tuple(lines), tuple(_blocks(lines))))
            symbol, lines = label[1].strip('"'), []
        elif label:
            lines.append(f"{label[1]}:")
        elif _is_instruction(line):
            lines.append(line.rstrip())
    return found


def _is_instruction(line: str) -> bool:
    text = line.strip()
    return line[:1].isspace() and text != "" and not text.startswith((".", "#", ";", "//"))


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    starts = [at for at in range(len(lines)) if at == 0 or lines[at].endswith(":") or _jumps(lines[at - 1])]
    numbers = {lines[at][:-1]: number for number, at in enumerate(starts) if lines[at].endswith(":")}
    ends = [*starts[1:], len(lines)]
    after: list[list[int]] = []
    for number, end in enumerate(ends):
        jump = numbers.get(_target(lines[end - 1]))
        falls = number + 1 < len(starts) and not _LEAVES.fullmatch(lines[end - 1].split()[0])
        after.append([*([] if jump is None else [jump]), *([number + 1] if falls else [])])
    loops = _loops(after)
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        label = lines[start][:-1] if lines[start].endswith(":") else ""
        depth = sum(number in loop for loop in loops.values())
        yield Block(label, tuple(lines[start + bool(label) : end]), depth, number in after[number])


def _loops(after: Sequence[Sequence[int]]) -> dict[int, set[int]]:
    """The pieces of every loop by the piece it begins with. after: the pieces that may follow each."""
    before: dict[int, list[int]] = {number: [] for number in range(len(after))}
    back: list[tuple[int, int]] = []
    seen, path = {0}, [(0, iter(after[0]))] if after else []
    on_path = {0}
    while path:
        number, rest = path[-1]
        for following in rest:
            before[following].append(number)
            if following in on_path:
                back.append((number, following))
            elif following not in seen:
                seen.add(following)
                on_path.add(following)
                path.append((following, iter(after[following])))
                break
        else:
            on_path.remove(number)
            path.pop()
    loops: dict[int, set[int]] = {}
    for end, head in back:
        loop = loops.setdefault(head, {head})
        wanted = [end]
        while wanted:
            number = wanted.pop()
            if number not in loop:
                loop.add(number)
                wanted += before[number]
    return loops


def _jumps(line: str) -> bool:
    return _LEAVES.fullmatch(line.split()[0]) is not None or _LOCAL.match(_target(line)) is not None


def _target(line: str) -> str:
    """The last operand, where a jump says where it goes."""
    return line.split()[-1].rstrip(",") if line[:1].isspace() else ""


def _is(kind: re.Pattern[str], line: str) -> bool:
    return kind.fullmatch(line.split()[0]) is not None and _VECTOR_OPERAND.search(line) is not None


def _reads(line: str) -> bool:
    mnemonic, *operands = line.split(None, 1)
    if "[" in line:  # AArch64
        return mnemonic.startswith("ld")
    return any("(" in each for each in _split("".join(operands))[:-1])


def _writes(line: str) -> bool:
    mnemonic, *operands = line.split(None, 1)
    if "[" in line:
        return mnemonic.startswith("st")
    return "(" in _split("".join(operands))[-1]


def _split(operands: str) -> list[str]:
    """Operands at commas, those within parentheses aside."""
    return re.split(r",\s*(?![^(]*\))", operands)


def readable(symbol: str) -> str:
    """Names in one of Numba's symbols: "_ZN6epcore7kernels...": epcore.kernels..."""
    if "parfor_gufunc" in symbol:
        return "its prange loop"
    start = symbol.find("_ZN")
    if start < 0:
        return symbol
    rest, names = symbol[start + 3 :], []
    while number := re.match(r"\d+", rest):
        end = number.end() + int(number[0])
        names.append(_ESCAPED.sub(lambda code: chr(int(code[1], 16)), rest[number.end() : end]))
        rest = rest[end:]
    return ".".join(name for name in names if name != "<locals>") or symbol
