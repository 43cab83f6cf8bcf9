"""Where a rasterizer that snaps vertices to a grid may differ: at pixel centres on edges, to within 1/128 of a
pixel."""

import torch

SNAP = 1 / 128  # pixels: OpenGL's grid is 1/256 at the coarsest that is common, and two corners may both be off


def distances(corners: torch.Tensor, x: torch.Tensor, y: torch.Tensor, width: int, height: int):
    """In pixels, of N pixel centres to the lines of F triangles [N, F, 3] and to where z = -w and z = w [N, F, 2];
    positive inside.

    corners: float64 clip-space positions [F, 3, 4].
    """
    q = corners[..., [0, 1, 3]]
    lines = torch.stack([torch.linalg.cross(q[:, (k + 1) % 3], q[:, (k + 2) % 3]) for k in range(3)], 1)  # [F, 3, 3]
    det = (lines[:, 0] * q[:, 0]).sum(-1)
    centre = torch.stack([(2 * x + 1 - width) / width, (2 * y + 1 - height) / height, torch.ones_like(x)], -1)
    per_pixel = torch.tensor([2 / width, 2 / height], dtype=torch.float64)

    def signed(planes):  # [F, K, 3]
        value = torch.einsum("fkc,nc->nfk", planes, centre) * det.sign()[:, None]
        return value / (planes[..., :2] * per_pixel).norm(dim=-1)

    depth = torch.einsum("fkc,fk->fc", lines, corners[..., 2])
    one = torch.tensor([0, 0, 1.0], dtype=torch.float64) * det[:, None]
    return signed(lines), signed(torch.stack([depth + one, one - depth], 1))


def on_an_edge(pos, tri, pixels, resolution):
    """Which of the pixels [N, 3] = (image, row, column) lie on the outline of a triangle or where one leaves the depth
    range."""
    height, width = resolution
    pos, tri = pos.detach().cpu().double(), tri.cpu().long()
    found = []
    for b, y, x in pixels.tolist():
        lines, planes = distances(
            (pos[b] if pos.dim() == 3 else pos)[tri],
            *(torch.tensor([v], dtype=torch.float64) for v in (x, y)),
            width,
            height,
        )
        reached = (lines[0] >= -SNAP).all(-1) & (planes[0] >= -SNAP).all(-1)
        border = (lines[0].abs() <= SNAP).any(-1) | (planes[0].abs() <= SNAP).any(-1)
        found.append(bool((reached & border).any()))
    return torch.tensor(found, dtype=torch.bool)


def assert_differs_on_edges_only(got, want, pos, tri, most: float | None = None):
    """Ids [B, H, W] of two rasterizers; `most` is the largest share of pixels that may differ."""
    assert got.shape == want.shape
    pixels = (got != want).nonzero()
    if most is not None:
        assert len(pixels) <= most * got.numel()
    away = ~on_an_edge(pos, tri, pixels, got.shape[1:])
    assert not away.any(), pixels[away].tolist()[:5]
