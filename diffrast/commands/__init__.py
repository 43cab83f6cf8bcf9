"""The commands of `diffrast`, one dataclass each: its fields are the options, its docstring is the help.

What a command needs is imported when it runs, so that help comes at once.
"""

from __future__ import annotations

from typing import Any

from .bench import Bench
from .completion import Completion
from .doctor import Doctor
from .export import Export
from .gradcheck import Gradcheck
from .make_dataset import MakeDataset
from .pose import Pose
from .reconstruct import Reconstruct
from .render import Render
from .texture import Texture
from .view import View
from .warmup import Warmup

COMMANDS: dict[str, type[Any]] = {
    "render": Render,
    "view": View,
    "reconstruct": Reconstruct,
    "texture": Texture,
    "pose": Pose,
    "export": Export,
    "make-dataset": MakeDataset,
    "bench": Bench,
    "gradcheck": Gradcheck,
    "doctor": Doctor,
    "warmup": Warmup,
    "completion": Completion,
}
