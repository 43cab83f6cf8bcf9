"""A ball with a texture, and the gradients of a loss on its image."""

import torch

import diffrast.torch as dr
from helpers import scenes

SIZE = (64, 80)


class Problem:
    """A picture of a ball, and the gradients of a loss on it."""

    def __init__(self, device="cuda", dtype=torch.float32):
        pos, tri = scenes.ball()
        self.ctx = dr.RasterizeContext(backend="cuda" if device.startswith("cuda") else "cpu")
        self.tri = tri.to(device)
        self.topology = dr.antialias_construct_topology_hash(self.tri)
        self.pos = pos.to(device, dtype).requires_grad_()
        self.tex = scenes.random((1, 32, 32, 3), 2).to(device, dtype).requires_grad_()
        self.target = scenes.random((2, *SIZE, 3), 3).to(device, dtype)

    def image(self):
        rast, rast_db = dr.rasterize(self.ctx, self.pos, self.tri, SIZE)
        uv, uv_da = dr.interpolate(self.pos[..., :2].contiguous(), rast, self.tri, rast_db, "all")
        return dr.antialias(dr.texture(self.tex, uv, uv_da), rast, self.pos, self.tri, self.topology)

    def gradients(self):
        loss = torch.nn.functional.mse_loss(self.image(), self.target)
        return torch.autograd.grad(loss, (self.pos, self.tex))
