"""The room of primitives: rasterize, interpolate, texture and antialias as operators of torch.

Tensors in, tensors out; no meshes, no cameras, no opinions. Users import them from `diffrast.torch`. Each primitive is
a function that checks its arguments (`validate`) and calls operators (`registration`), whose work a backend does.
`forward_mode` adds forward-mode derivatives.
"""
