"""What a kernel costs, counted warp by warp, and which of its lines cost more than they need to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

from epcore.learn.cuda.findings import Finding, Scene, line_table
from epcore.learn.cuda.program import Run

SECTOR = 32  # bytes of a memory transaction
TOO_MANY = 2.0  # a line is named if it takes at least so many times the transactions (passes) it needs,
SHARE = 0.05  # and if what it takes too many is such a share of the kernel's
PARTS = 0.4  # a branch is named if the warps part at such a share of their comings


@dataclass(frozen=True)
class Counts:
    """Sums over all warps of a launch, or of the launches that make a result."""

    requests: int = 0  # loads and stores of global memory: instructions of warps
    sectors: int = 0  # that these moved, of 32 bytes
    needed_sectors: int = 0  # if the bytes of each request stood side by side
    atomics: int = 0  # operations of threads
    shared_requests: int = 0
    passes: int = 0  # of the banks of shared memory
    needed_passes: int = 0  # without bank conflicts
    branches: int = 0  # comparisons that warps came to
    parted: int = 0  # after which their lanes went different ways
    blocks: int = 0  # basic blocks that warps ran
    lanes: int = 0  # threads that took part in these, of 32 each
    read_once: int = 0  # sectors read, each counted once
    written_once: int = 0

    @property
    def bytes(self) -> int:
        return self.sectors * SECTOR

    @property
    def conflicts(self) -> int:
        return self.passes - self.needed_passes

    @property
    def coalesced(self) -> float:
        """Share of the moved sectors that are needed, 1 for the best."""
        return self.needed_sectors / self.sectors if self.sectors else 1.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Counts)))


def counted(run: Run) -> Counts:
    """Of a run in lockstep."""
    memory = [cost for cost in run.costs if cost["requests"] and not cost["shared"]]
    shared = [cost for cost in run.costs if cost["requests"] and cost["shared"]]
    return Counts(
        requests=sum(cost["requests"] for cost in memory),
        sectors=sum(cost["sectors"] for cost in memory),
        needed_sectors=sum(cost["needed_sectors"] for cost in memory),
        atomics=sum(cost["atomics"] for cost in run.costs),
        shared_requests=sum(cost["requests"] for cost in shared),
        passes=sum(cost["passes"] for cost in shared),
        needed_passes=sum(cost["needed_passes"] for cost in shared),
        branches=run.end.get("branches", 0),
        parted=sum(cost["parted"] for cost in run.costs),
        blocks=run.end.get("blocks", 0),
        lanes=run.end.get("lanes", 0),
        read_once=run.end.get("touched", [0, 0])[0],
        written_once=run.end.get("touched", [0, 0])[1],
    )


def advice(run: Run, scene: Scene, ours: Counts | None) -> list[Finding]:
    """Lines that cost more than they need. Branches only where lanes part more than twice as often as in our kernel."""
    total = counted(run)
    table = line_table(scene.program, [cost["cost"] for cost in run.costs], scene.file)
    lines: dict[int, list[dict[str, int]]] = {}
    for cost in run.costs:
        if cost["cost"] in table:
            lines.setdefault(table[cost["cost"]], []).append(cost)
    found = []
    for line, costs in sorted(lines.items()):
        sectors, needed = _sum(costs, "sectors"), _sum(costs, "needed_sectors")
        if sectors >= TOO_MANY * needed > 0 and sectors - needed >= SHARE * total.sectors:
            requests = sum(cost["requests"] for cost in costs if not cost["shared"])
            text = (
                f"a warp's access takes {sectors / requests:.1f} transactions of 32 bytes, {needed / requests:.1f} if its lanes"
                " took neighbouring elements"
            )
            found.append(Finding("uncoalesced", scene.file, line, text, scene.case, advice=True))
        passes, wanted = _sum(costs, "passes"), _sum(costs, "needed_passes")
        if passes >= TOO_MANY * wanted > 0 and passes - wanted >= SHARE * total.passes:
            text = f"an access of a warp takes {passes / wanted:.1f} passes: its lanes want different words of the same banks"
            found.append(Finding("bank conflict", scene.file, line, text, scene.case, advice=True))
        parted, comings = _sum(costs, "parted"), _sum(costs, "branches")
        often = comings and parted >= PARTS * comings and parted >= SHARE * total.branches
        if often and ours is not None and total.parted > 2 * ours.parted:
            text = f"the lanes of a warp go different ways at {parted} of {comings} comings: it runs both, one after the other"
            found.append(Finding("divergent branch", scene.file, line, text, scene.case, advice=True))
    return found


def _sum(costs: Iterable[dict[str, int]], name: str) -> int:
    return sum(cost[name] for cost in costs)
