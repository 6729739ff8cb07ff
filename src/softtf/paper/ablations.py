"""Tables beyond the paper's: its Figure 5, masked kinds of weights, and all methods side by side."""

from softtf.paper.rows import (
    ATTN,
    BY_GATE,
    BY_GRADIENT,
    DUAL_PROMPT,
    DUAL_PROMPT_PGP,
    NO_TASK,
    Table,
    TableRow,
    Trained,
    imported,
    l2p,
    low_rank,
    plain,
    soft_tf,
    upper_bound,
    wsn,
)
from softtf.recipes.methods import DEFAULT
from softtf.registry import own

BY_TII = ("tii", "oracle")
HOSTS = (
    ("HiDe-Prompt", "hide-prompt"),
    ("HiDe-Prompt + Soft-TF", "hide-prompt+soft-tf"),
    ("NoRGa", "norga"),
    ("NoRGa + Soft-TF", "norga+soft-tf"),
)
RIVALS = (
    ("RanPAC, first-session adaptation", "ranpac-fsa"),
    ("CODA-Prompt", "coda-prompt"),
    ("SLCA", "slca"),
    ("EASE", "ease"),
    ("MOS", "mos"),
    ("TUNA", "tuna"),
)
JOINT = (("Linear head", "linear-head"), ("FT", "ft"))


def layers() -> Table:
    """Sets of masked layers (Figure 5)."""
    sets = {"[1,2]": "1-2", "[3,4,5]": "3-5", "[6,7,8]": "6-8", "[10,11,12]": "10-12"}
    rows = (
        *(TableRow(f"L2P-Soft-TF-L{n}-PGP", "Gradient ID", l2p("l2p+pgp+soft-tf", on)) for n, on in sets.items()),
        *(TableRow(f"DualPrompt-Soft-TF-L{n}", "Gradient ID", soft_tf(on)) for n, on in sets.items()),
    )
    return Table("layers", "sets of masked layers, as in Figure 5", ("cifar100-10",), rows)


def targets() -> Table:
    """Masked kinds of weights (the comparison within Tables 8 and 12, with FF added)."""
    rows = tuple(
        TableRow(f"Soft-TF-L{name} {words}", "Gradient ID", soft_tf(on, kind))
        for name, on in (("[12]", "12"), ("[10,11,12]", "10-12"))
        for words, kind in (("w/ only ATTN", ATTN), ("w/o FF", "w/o FF"), ("w/ FF", "w/ FF"))
    )
    return Table("targets", "masked weights: qkv only, with proj, with FF", ("cifar100-10",), rows)


def methods() -> Table:
    """The default, then every method for images in its own settings, and what the twelve tables leave out."""
    policies = (*BY_GRADIENT, "feature-id:joint")
    low = soft_tf("3-5", method="dual-prompt+pgp+soft-tf")
    masks = Trained("dual-prompt+soft-tf", {"learner.feature_id": 1000}, policies=policies)
    rows = (
        TableRow("SoftTF, the default", "-", plain(DEFAULT)),
        TableRow("NCM, frozen features", "-", plain("ncm")),
        TableRow("RanPAC, frozen features", "-", plain("ranpac")),
        TableRow("RanPAC, M = 10,000", "-", Trained("ranpac", {"learner.projection": 10_000}, policies=NO_TASK)),
        TableRow("Fly-CL, frozen features", "-", plain("fly-cl")),
        TableRow("KLDA-E, frozen features", "-", plain("klda")),
        TableRow("LayUP, frozen features", "-", plain("layup")),
        TableRow("Linear head", "-", plain("linear-head")),
        *(TableRow(n, "-", plain(m)) for n, m in (("FT", "ft"), ("EWC", "ewc"), ("LwF", "lwf"))),
        *(TableRow(n, "-", plain(m)) for n, m in (("iCaRL", "icarl"), ("BiC", "bic"), ("DER++", "der++"))),
        TableRow("DER+MCG", "-", Trained("der+mcg", policies=BY_GATE)),
        *(TableRow(n, "-", plain(m)) for n, m in RIVALS),
        TableRow("L2P", "-", plain("l2p")),
        TableRow("L2P + PGP", "-", plain("l2p+pgp")),
        TableRow("L2P + Soft-TF", "Gradient ID", Trained("l2p+soft-tf", policies=BY_GRADIENT)),
        TableRow("L2P + PGP + Soft-TF", "Gradient ID", Trained("l2p+pgp+soft-tf", policies=BY_GRADIENT)),
        TableRow("CODA-Prompt + Soft-TF", "Gradient ID", Trained("coda-prompt+soft-tf", policies=BY_GRADIENT)),
        *(TableRow(n, "TII", Trained(m, policies=BY_TII)) for n, m in HOSTS),
        TableRow("DualPrompt", "Prompt ID", DUAL_PROMPT),
        TableRow("DualPrompt + PGP", "Prompt ID", DUAL_PROMPT_PGP),
        TableRow("DualPrompt + Adapter-L[all], r=75", "Prompt ID", low_rank("dual-prompt+adapter", "all", 75)),
        TableRow("DualPrompt + LoRA, r=500", "Prompt ID", low_rank("dual-prompt+lora", "10-12", 500)),
        TableRow("DualPrompt + WSN, c=90", "Gradient ID", wsn(90.0)),
        TableRow("DualPrompt + SoftNet", "Gradient ID", Trained("dual-prompt+softnet", policies=BY_GRADIENT)),
        TableRow("DualPrompt + PGP + Soft-TF-L[3,4,5]", "Gradient ID", low),
        *(TableRow("DualPrompt + Soft-TF", t, masks) for t in ("Prompt ID", "Gradient ID", "Feature ID, joint")),
        *(TableRow(f"{n}, all classes at once", "-", upper_bound(plain(m))) for n, m in JOINT),
        TableRow("DualPrompt + Soft-TF, all classes at once", "-", upper_bound(soft_tf("10-12"))),
        *(TableRow(spec.title, "-", imported(kind)) for kind, spec in own("learner").items()),
    )
    return Table("methods", "every method for images, and joint training", ("cifar100-10",), rows)
