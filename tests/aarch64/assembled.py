"""What a kernel becomes on another processor: its LLVM IR assembled, the object file and the assembly read."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import llvmlite.binding as llvm
from families import AARCH64


@dataclass(frozen=True)
class Assembled:
    """One kernel. undefined: symbols that the object file expects from outside; fused_calls: multiply-adds of whole vectors in
    the IR; fused: those of four lanes in the assembly, of NEON or (where compiled for it) SVE; vectors: whether the IR has
    float32 vectors; neon: lines of assembly that use vector registers; acquire, release: those that order memory;
    object_bytes: size of the object file."""

    undefined: list[str]
    fused_calls: int
    fused: int
    vectors: bool
    neon: int
    acquire: int
    release: int
    object_bytes: int


def enable_other_targets() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def target_machine(cpu: str, features: str) -> llvm.TargetMachine:
    """Raises RuntimeError where this llvmlite has no AArch64 backend."""
    return llvm.Target.from_triple(AARCH64.triple).create_target_machine(cpu=cpu, features=features, opt=3, reloc="pic")


def assemble(code: str, machine: llvm.TargetMachine) -> Assembled:
    """code: optimised IR of the machine's triple. Raises ValueError where it asks for another architecture's instructions
    (LLVM ends the process there) and RuntimeError where it is not valid."""
    foreign = sorted(set(re.findall(r"llvm\.(?:x86|arm|ppc)\.[\w.]+", code)))
    if foreign:
        raise ValueError(f"instructions of another architecture: {', '.join(foreign)}")
    module = llvm.parse_assembly(code)
    module.verify()
    content, text = machine.emit_object(module), machine.emit_assembly(module)

    def lines(pattern: str) -> int:
        return len(re.findall(pattern, text, re.MULTILINE))

    return Assembled(
        undefined=sorted(undefined_symbols(content)),
        fused_calls=len(re.findall(r"call <\d+ x float> @llvm\.fma\.", code)),
        fused=lines(r"^\s+fn?m(l[as]|ad|sb)\s+(v\d+\.4s|z\d+\.s)"),
        vectors=bool(re.search(r"<\d+ x float>", code)),
        neon=lines(r"^\s+\w+\s+([vz]\d+\.|q\d+\b)"),
        acquire=lines(r"^\s+(ldar|ldapr|ldaxr|ldaddal)\b"),
        release=lines(r"^\s+(stlxr|ldaddal)\b"),
        object_bytes=len(content),
    )


def undefined_symbols(content: bytes) -> set[str]:
    """Names that a little-endian ELF64 object file uses and does not define."""
    sections = {section.name(): section.data() for section in llvm.ObjectFileRef.from_data(content).sections()}
    table, names = sections[b".symtab"], sections[b".strtab"]
    undefined = set()
    for name, _, _, section, _, _ in struct.iter_unpack("<IBBHQQ", table):
        if name and section == 0:
            undefined.add(names[name : names.index(b"\0", name)].decode())
    return undefined
