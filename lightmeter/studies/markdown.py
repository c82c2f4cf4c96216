"""What a study's pages say -> `study.md`, the same tables as text."""

from __future__ import annotations

from typing import Any

from lightmeter.verbs.reporting.words import THIN


def markdown(said: dict[str, Any]) -> str:
    """study.md, from what `lightmeter.studies.page.context` says."""
    first, rest = said["headline"]
    lines = [f"# {said['title']}", "", f"**{first} {rest}**", "", said["question"], ""]
    if said["scale"]:
        lines += [
            f"{said['scale'][0].upper()}{said['scale'][1:]}."
            + (f" Left out: {said['left_out']}" if said["left_out"] else ""),
            "",
        ]
    if said["columns"]:
        # One row: what was published and what was trained are lists of their own, not line beside line.
        cells = [[f"{what}: {figure}" if what else figure for what, figure in rows] for _, rows in said["columns"]]
        lines += _table([title for title, _ in said["columns"]], [["<br>".join(column) for column in cells]])
    lines += ["## Arms", "", f"Figures are {said['basis']}.", ""]
    header = ["arm", "role", *(["published"] if said["any_published"] else [])]
    header += [
        "test accuracy",
        f"95{THIN}% interval",
        "loss",
        "while learning",
        "on training pictures",
        "gap, points",
        "F1, macro",
    ]
    header += ["parameters", "of them trained", "epochs", "an epoch", "training"]
    keys = [
        "accuracy",
        "span",
        "loss",
        "learning",
        "fit",
        "gap",
        "f1",
        "total",
        "trainable",
        "epochs",
        "per_epoch",
        "seconds",
    ]
    rows = []
    for arm in said["arms"]:
        head = [arm["name"], arm["role"], *([arm["published"]] if said["any_published"] else [])]
        rows.append(
            [*head, *([arm[key] for key in keys] if arm["finished"] else [f"did not finish: {arm['why']}"] + [""] * 11)]
        )
    lines += _table(header, rows)
    if said["verdicts"]:
        lines += ["## Verdicts", "", *(f"- {entry['sentence']}" for entry in said["verdicts"]), ""]
    if said["knee"]:
        header = ["step", "gain, points", "more training", "the next tenth of a point costs", "verdict"]
        lines += [
            "## Where more stops paying",
            "",
            said["knee"]["sentence"],
            "",
            *_table(header, [list(step.values()) for step in said["knee"]["steps"]]),
        ]
    for table in said["rows"]:
        header = ["epochs", "training", "train", "validation", "a tenth of a point cost", "against the best before"]
        lines += [
            f"## {table['name']}: what more epochs are worth",
            "",
            table["sentence"],
            "",
            *_table(header, [list(row.values()) for row in table["rows"]]),
        ]
    if said["unseen"]:
        lines += ["## Pictures that the start weights cannot have seen", ""]
        lines += [*(f"- {name}: {found}" for name, found in said["unseen"]), ""]
    if said["trouble"]:
        lines += ["## Not finished", "", *(f"- {who}: {why}" for who, why in said["trouble"]), ""]
    if said["leaks"]:
        lines += [said["leaks"], ""]
    lines += (
        ["## What each arm is", "", *(f"- **{name}**: {note}" for name, note in said["notes"]), ""]
        if said["notes"]
        else []
    )
    return "\n".join(lines).replace(THIN, " ").rstrip() + "\n"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(header), "|" + "---|" * len(header), *map(line, rows), ""]
