"""Independent oracles of the four primitives: docs/MATH.md in plain PyTorch, clear rather than fast.

They share no code with `cuda/` or `diffrast/`; gradients come from autograd. They compute in float64
whatever the input, and return the dtype of the input.
"""
