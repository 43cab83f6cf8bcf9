"""A triangle, drawn, and found again from its image: start, result and target, side by side in triangle.png."""

import torch

import diffrast.torch as dr
from diffrast.io import save_image

ctx = dr.RasterizeContext()
start, target = torch.tensor([[[-0.2, -0.9], [0.3, 0.1], [-0.6, 0.5]], [[-0.85, -0.7], [0.85, -0.7], [0.0, 0.85]]])
faces, colors = torch.tensor([[0, 1, 2]]), torch.eye(3)  # one triangle; its corners are red, green and blue


def draw(corners):  # [3, 2], x and y from -1 (left, bottom) to 1 (right, top)
    pos = torch.cat([corners, torch.tensor([[0.0, 1.0]] * 3)], dim=1)[None]  # clip space: x, y, depth, w
    rast, _ = dr.rasterize(ctx, pos, faces, resolution=(256, 256))  # which triangle each pixel sees, and where
    image, _ = dr.interpolate(colors, rast, faces)  # the corners' colors, blended over the triangle
    return dr.antialias(image, rast, pos, faces)[0]  # smooth outlines, and gradients through them


found = start.clone().requires_grad_()
optimizer = torch.optim.Adam([found], lr=0.03)
for _ in range(200):
    loss = (draw(found) - draw(target)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"corners off by {128 * (found - target).norm(dim=1).max():.3f} pixels")
save_image("triangle.png", torch.cat([draw(start), draw(found), draw(target)], dim=1))
