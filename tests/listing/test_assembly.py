"""What is found in assembly: functions, loops, and the piece that does the work, on texts small enough to count by hand."""

from __future__ import annotations

from epcore.listing.assembly import functions, readable

X86 = """
	.text
	.globl	_ZN6epcore7kernels3sum12_3clocals_3e3runB2v1E
	.type	_ZN6epcore7kernels3sum12_3clocals_3e3runB2v1E,@function
_ZN6epcore7kernels3sum12_3clocals_3e3runB2v1E:
	.cfi_startproc
	vxorps	%xmm0, %xmm0, %xmm0
	testq	%rdi, %rdi
	jle	.LBB0_4
.LBB0_1:
	xorl	%ecx, %ecx
	.p2align	4
.LBB0_2:
	vmovups	(%rsi,%rcx,4), %zmm1
	vfmadd231ps	(%rdx,%rcx,4), %zmm1, %zmm0
	vfmadd231ps	%zmm2, %zmm1, %zmm3
	addq	$16, %rcx
	cmpq	%rcx, %r8
	jne	.LBB0_2
	vminps	%zmm0, %zmm2, %zmm4
	vfmadd213ps	%zmm4, %zmm4, %zmm4
	vfmadd213ps	%zmm4, %zmm4, %zmm4
	vfmadd213ps	%zmm4, %zmm4, %zmm4
	vdivps	%zmm4, %zmm0, %zmm0
	vmovups	%zmm0, (%r9)
	decq	%rdi
	jne	.LBB0_1
.LBB0_4:
	vfmadd231ps	%zmm2, %zmm1, %zmm3
	vfmadd231ps	%zmm2, %zmm1, %zmm3
	vfmadd231ps	%zmm2, %zmm1, %zmm3
	retq
.Lfunc_end0:
	.cfi_endproc

nothing:
	.zero	64
"""

AARCH64 = """
	.text
_ZN3sum:
	mov	x8, #0
.LBB0_1:
	ldp	q0, q1, [x0], #32
	ldr	q2, [x1, x8]
	fmla	v4.4s, v0.4s, v2.4s
	fmla	v5.4s, v1.4s, v2.s[0]
	fadd	v6.4s, v4.4s, v5.4s
	str	q6, [x2, x8]
	add	x8, x8, #16
	cmp	x8, x3
	b.ne	.LBB0_1
	ret
"""


def test_x86() -> None:
    (function,) = functions(X86)
    assert function.name == "epcore.kernels.sum.run"
    assert [(block.label, block.depth, block.closes) for block in function.blocks if block.lines] == [
        ("", 0, False), (".LBB0_1", 1, False), (".LBB0_2", 2, True), ("", 1, False), (".LBB0_4", 0, False),
    ]  # fmt: skip
    hot = function.hottest  # neither what runs once nor the polynomial before a division
    assert hot.label == ".LBB0_2"
    assert (len(hot.lines), hot.multiply_adds, hot.arithmetic, hot.moves, hot.loads, hot.stores) == (6, 2, 0, 1, 2, 0)
    activation = function.blocks[3]
    assert (activation.multiply_adds, activation.arithmetic, activation.loads, activation.stores) == (3, 2, 0, 1)


def test_aarch64() -> None:
    (function,) = functions(AARCH64)
    hot = function.hottest
    assert (hot.label, hot.depth, hot.closes) == (".LBB0_1", 1, True)
    assert (hot.multiply_adds, hot.arithmetic, hot.loads, hot.stores) == (2, 1, 2, 1)


def test_a_piece_behind_the_loop_that_jumps_back_into_it_is_of_the_loop() -> None:
    """Compilers put what is rare behind the loop; what merely lies between a label and a jump is no loop."""
    text = (
        "f:\n.LBB0_1:\n\tje\t.LBB0_3\n.LBB0_2:\n\tdecq\t%rax\n\tjne\t.LBB0_1\n\tretq\n.LBB0_3:\n\tincq\t%rbx\n\tjmp\t.LBB0_2\n"
    )
    (function,) = functions(text)
    assert [block.depth for block in function.blocks] == [1, 1, 0, 1]
    (function,) = functions("f:\n\tjmp\t.LBB0_2\n.LBB0_1:\n\tretq\n.LBB0_2:\n\tincq\t%rbx\n\tjmp\t.LBB0_1\n")
    assert [block.depth for block in function.blocks] == [0, 0, 0]


def test_names() -> None:
    assert readable("_ZN6epcore3ops4reluE") == "epcore.ops.relu"
    assert readable("NRT_incref") == "NRT_incref"
    assert readable("_ZN13_3cdynamic_3e24__numba_parfor_gufunc_0xE") == "its prange loop"
