"""Which network can be trained for which objective, and why.

The contract lets any two be put together that give and need the same things; this table says where they do.
`build_objective` refuses the other pairs before the first step; `docs/networks_and_objectives.md` shows the table.

Taught in lesson 11.
"""

from __future__ import annotations

_TEACHER = "needs the teacher and the student of the AdaMM network in one"
_EARLY = "all modalities enter one encoder: no modality has features of its own to distil"

# (network, objective) -> (whether it can be done, why)
PAIRINGS: dict[tuple[str, str], tuple[bool, str]] = {
    ("baseline", "plain"): (True, "the reference: mean fusion, segmentation terms only"),
    ("baseline", "dmaf"): (True, "ablation: DMAF-Net's distillation without its fusion"),
    ("baseline", "passion"): (True, "PASSION on the simplest fusion"),
    ("baseline", "adamm"): (False, _TEACHER),
    ("dmaf_net", "plain"): (True, "ablation: DMAF-Net's fusion without distillation"),
    ("dmaf_net", "dmaf"): (True, "DMAF-Net"),
    ("dmaf_net", "passion"): (True, "DMAF-Net's fusion, PASSION's balance"),
    ("dmaf_net", "adamm"): (False, _TEACHER),
    ("rfnet", "plain"): (True, "RFNet"),
    ("rfnet", "dmaf"): (True, "DMAF-Net's distillation on region-aware fusion"),
    ("rfnet", "passion"): (True, "PASSION, as published"),
    ("rfnet", "adamm"): (False, _TEACHER),
    ("mmformer", "plain"): (True, "mmFormer"),
    ("mmformer", "dmaf"): (True, "DMAF-Net's distillation on a transformer's fusion"),
    ("mmformer", "passion"): (True, "PASSION, as published"),
    ("mmformer", "adamm"): (False, _TEACHER),
    ("adamm", "plain"): (True, "AdaMM's student alone"),
    ("adamm", "dmaf"): (False, _EARLY),
    ("adamm", "passion"): (False, _EARLY),
    ("adamm", "adamm"): (True, "AdaMM"),
}


def check_pairing(network: str | None, objective: str) -> None:
    """Refuse a pair that cannot be trained.  A network that was not built by its name (None) is not in the table.

    Raises:
        ValueError: With the reason, and what goes with this network.
    """
    works, why = PAIRINGS.get((network, objective), (True, ""))
    if not works:
        others = [other for (name, other), (fine, _) in PAIRINGS.items() if name == network and fine]
        raise ValueError(f"objective {objective!r} cannot train network {network!r}: {why}; "
                         f"choose one of {', '.join(others)}")


def pairing_table() -> str:
    """The pairs as a markdown table, one line each."""
    lines = ["| network | objective | | why |", "|---|---|---|---|"]
    lines += [f"| `{network}` | `{objective}` | {'yes' if works else 'no'} | {why} |"
              for (network, objective), (works, why) in PAIRINGS.items()]
    return "\n".join(lines) + "\n"
