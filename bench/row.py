"""One line of a benchmark's table: raw samples of ours and of the peer, never a verdict."""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """Samples of one figure, the smaller the better.

    `goal` is the greatest wanted ratio ours / peer; of a row without a peer, the greatest wanted value.
    """

    name: str
    unit: str
    ours: list[float]
    ours_command: str
    peer: list[float]
    peer_name: str = ""
    peer_command: str = ""
    goal: float | None = None

    def as_json(self) -> dict[str, object]:
        """The row as `bench/results/AREA.json` has it."""
        return asdict(self)

    def line(self) -> str:
        """The row as the table has it: medians, their ratio, the goal, met or missed."""
        ours = statistics.median(self.ours)
        judged, peer, ratio = ours, "", ""
        if self.peer:
            middle = statistics.median(self.peer)
            judged = ours / middle
            peer, ratio = f"{middle:.3f}", f"{judged:.3f}"
        goal = "" if self.goal is None else f"{self.goal:g}"
        verdict = "" if self.goal is None else ("met" if judged <= self.goal else "MISSED")
        return (
            f"{self.name:40} {ours:12.3f} {peer:>12} {self.unit:10} {ratio:>7} {goal:>6} {verdict:6} "
            f"{self.peer_name}"
        )


HEADING = f"{'row':40} {'ours':>12} {'peer':>12} {'unit':10} {'ratio':>7} {'goal':>6} {'':6} peer (medians)"
