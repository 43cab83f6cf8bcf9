"""The commands of `diffrast`, one dataclass each: its fields are the options, its docstring is the help.

What a command needs is imported when it runs, so that help comes at once.
"""

from __future__ import annotations

import re
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

# In the order in which `diffrast --help` lists them. The name of `MakeDataset` is make-dataset.
KINDS: tuple[type[Any], ...] = (Render, View, Reconstruct, Texture, Pose, Export, MakeDataset, Bench, Gradcheck, Doctor)
KINDS += (Warmup, Completion)
COMMANDS = {re.sub("(?<!^)(?=[A-Z])", "-", kind.__name__).lower(): kind for kind in KINDS}
