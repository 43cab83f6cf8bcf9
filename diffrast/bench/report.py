"""The rows of `gradients` as text."""

from collections.abc import Sequence

# Title, width and format of each column of the table.
COLUMNS = (
    ("scene", 14, "{scene:<14}"),
    ("renderer", 12, "{adapter:<12}"),
    ("cosine", 7, "{cosine:7.4f}"),
    ("worst", 7, "{worst_cosine:7.3f}"),
    ("error", 7, "{relative:7.4f}"),
    ("ratio", 7, "{ratio:7.3f}"),
    ("floor", 7, "{floor:7.4f}"),
    ("PSNR/dB", 8, "{psnr_db:8.2f}"),
    ("ms", 6, "{ms:6.1f}"),
)


def header(separator: str = " ") -> str:
    return separator.join(f"{title:<{width}}" for title, width, _ in COLUMNS)


def line(row: dict, separator: str = " ") -> str:
    return separator.join(form.format(**row) for _, _, form in COLUMNS)


def components(row: dict) -> str:
    """Bias and ratio of each component."""
    bias, ratio = row["bias"], row["component_ratio"]
    return "  ".join(f"{name} {bias[name]:+.3f} x{ratio[name]:.3f}" for name in bias)


def markdown(rows: Sequence[dict]) -> str:
    """A Markdown table, and the components below it."""
    rule = "|".join("-" * (width + 2) for _, width, _ in COLUMNS)
    table = [f"| {header(' | ')} |", f"|{rule}|", *(f"| {line(row, ' | ')} |" for row in rows)]
    parts = [f"- {row['scene']}, {row['adapter']}: {components(row)}" for row in rows]
    return "\n".join([*table, "", "Signed bias and ratio of each component:", "", *parts]) + "\n"
