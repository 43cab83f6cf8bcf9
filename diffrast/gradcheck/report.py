"""The rows of `gradients` and `problems` as text."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch

Columns = Sequence[tuple[str, int, str]]
# Title, width and format of each column of a table: of gradients, and of optimization problems.
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
    ("draws", 5, "{samples:5}"),
)
PROBLEM_COLUMNS = (
    ("problem", 18, "{problem:<18}"),
    ("renderer", 12, "{adapter:<12}"),
    ("error", 9, "{error:9.1e}"),
    ("mean", 9, "{mean:9.1e}"),
    ("worst", 9, "{worst:9.1e}"),
    ("found", 6, "{found:6.0%}"),
    ("s/run", 6, "{seconds:6.1f}"),
)


def header(separator: str = " ", columns: Columns = COLUMNS) -> str:
    return separator.join(f"{title:<{width}}" for title, width, _ in columns)


def line(row: dict, separator: str = " ", columns: Columns = COLUMNS) -> str:
    return separator.join(form.format(**row) for _, _, form in columns)


def table(rows: Sequence[dict], columns: Columns = COLUMNS) -> list[str]:
    """The lines of a Markdown table."""
    rule = "|".join("-" * (width + 2) for _, width, _ in columns)
    return [f"| {header(' | ', columns)} |", f"|{rule}|", *(f"| {line(row, ' | ', columns)} |" for row in rows)]


def components(row: dict) -> str:
    """Bias and ratio of each component."""
    bias, ratio = row["bias"], row["component_ratio"]
    return "  ".join(f"{name} {bias[name]:+.3f} x{ratio[name]:.3f}" for name in bias)


def machine() -> str:
    """What a time was measured on."""
    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8").splitlines()
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), name)
    threads = torch.get_num_threads()
    # Where more runs than this, times are upper bounds.
    shared = hasattr(os, "getloadavg") and os.getloadavg()[0] > threads + 0.5
    cores = f"{os.cpu_count()} cores of an {name}{', shared with other work' if shared else ''}"
    return f"{cores}, {threads} thread(s), torch {torch.__version__}"


def markdown(rows: Sequence[dict]) -> str:
    """The rows of `gradients` as a table with the components below it; those of `problems` as a table."""
    measured = ["", f"Measured on {'; '.join(sorted({row.get('machine', 'an earlier machine') for row in rows}))}."]
    if rows and "problem" in rows[0]:
        return "\n".join([*table(rows, PROBLEM_COLUMNS), *measured]) + "\n"
    parts = [f"- {row['scene']}, {row['adapter']}: {components(row)}" for row in rows]
    return "\n".join([*table(rows), *measured, "", "Signed bias and ratio of each component:", "", *parts]) + "\n"
