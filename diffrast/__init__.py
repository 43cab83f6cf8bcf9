"""diffrast: differentiable rasterization for PyTorch, on CPU, OpenGL and CUDA.

`import diffrast.torch as dr` gives the primitives; `diffrast.scene` the meshes, cameras and images on top of them.
Importing diffrast starts no graphics context and touches no GPU.
"""

__version__ = "0.1.0"
