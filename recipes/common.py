"""What the recipes share: options, the loop of a descent, what a smoke run checks, and a colored cube."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import avg_pool2d
from tqdm import tqdm


def options(description: str | None, argv: list[str] | None, smoke: dict[str, int], **more: Any) -> argparse.Namespace:
    """Options of the command line: `--out --smoke --device`, and a recipe's own.

    Args:
        description: the recipe's docstring.
        argv: the words, or None for those of the process.
        smoke: the most that some options may be under `--smoke`.
        more: for each option its default, or its type where it has none, and one line of help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, text) in more.items():
        if default is bool:
            parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
        elif isinstance(default, type):
            parser.add_argument(f"--{name}", type=default, help=text)
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{text} (default: {default})")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for images (default: out)")
    parser.add_argument("--smoke", action="store_true", help="small and short, with a check that it works")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    args = parser.parse_args(argv)
    if args.smoke:
        for name, most in smoke.items():
            setattr(args, name, min(getattr(args, name), most))
    args.out.mkdir(parents=True, exist_ok=True)
    return args


class Descent:
    """The steps of a descent, with a progress bar: `for step in descent: descent.step(loss)`.

    The learning rate falls evenly, by the factor `decay` over all steps, unless a schedule is given.
    """

    def __init__(
        self,
        name: str,
        optimizer: torch.optim.Optimizer,
        steps: int,
        decay: float = 1.0,
        schedule: Callable[[int], float] | list[Callable[[int], float]] | None = None,
    ) -> None:
        self.name, self.optimizer, self.steps = name, optimizer, steps
        self.schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule or (lambda i: decay ** (i / steps)))
        self.losses: list[float] = []

    def __iter__(self) -> Iterator[int]:
        for step in (bar := tqdm(range(self.steps), desc=self.name)):
            yield step
            bar.set_postfix_str(f"loss {self.losses[-1]:.1e}")

    def step(self, loss: torch.Tensor, shown: torch.Tensor | None = None) -> None:
        """One step down `loss`; what is recorded and printed is `shown`, where that is something else."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.losses.append((loss if shown is None else shown).item())


def ends(losses: list[float], first: int = 5, last: int = 10) -> tuple[float, float]:
    """The means of the first and of the last losses."""
    return sum(losses[:first]) / len(losses[:first]), sum(losses[-last:]) / len(losses[-last:])


def check(smoke: bool, before: float, after: float, factor: float, what: str = "the loss") -> None:
    """Exits with an error where a smoke run's loss did not fall below `factor` times what it was."""
    if smoke and not after < factor * before:
        raise SystemExit(f"smoke: {what} did not go down: {before:.2e} -> {after:.2e}")


def reduced(image: torch.Tensor, factor: int) -> torch.Tensor:
    """Images [..., H, W, C] with the mean of every factor x factor pixels."""
    return avg_pool2d(image.movedim(-1, -3), factor).movedim(-3, -1)


def rotation(q: torch.Tensor) -> torch.Tensor:
    """Rotation matrices [..., 3, 3] of unit quaternions [..., 4], (w, x, y, z)."""
    w, x, y, z = q.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


# A cube of side 1: corners [8, 3]; the corners of its sides, counter-clockwise from outside; a color for each side.
CORNERS = torch.tensor([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
SIDES = [[4, 6, 7, 5], [0, 1, 3, 2], [2, 3, 7, 6], [0, 4, 5, 1], [1, 5, 7, 3], [0, 2, 6, 4]]
RED, GREEN, BLUE = [0.85, 0.04, 0.04], [0.04, 0.5, 0.1], [0.02, 0.2, 0.85]
YELLOW, MAGENTA, CYAN = [0.9, 0.6, 0.02], [0.6, 0.06, 0.55], [0.02, 0.6, 0.65]
COLORS = torch.tensor([RED, GREEN, BLUE, YELLOW, MAGENTA, CYAN]).repeat_interleave(4, 0)  # [24, 3], four corners a side
TRI = torch.tensor([t for a, b, c, d in SIDES for t in ((a, b, c), (a, c, d))], dtype=torch.int32)
COLOR_TRI = torch.tensor([[i, i + j, i + j + 1] for i in range(0, 24, 4) for j in (1, 2)], dtype=torch.int32)
BACKGROUND = 0.012  # linear gray
