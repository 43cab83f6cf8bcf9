"""Oracle of interpolate (docs/MATH.md, section 3)."""

import torch


def interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    """[B, H, W, A], and [B, H, W, 2 len(diff_attrs)] pairs (dA/dX, dA/dY), or None without diff_attrs.

    attr: [V, A] or [1|B, V, A]; rast, rast_db: [B, H, W, 4]; diff_attrs: list of channels, or 'all'.
    Differentiable in attr, in (u, v) of rast and in rast_db.
    """
    B = rast.shape[0]
    a = attr.double()
    a = a.expand(B, *a.shape[-2:])  # [V, A] and [1, V, A] are shared by the batch
    ids = rast[..., 3].detach().long() - 1
    b, iy, ix = torch.nonzero(ids >= 0, as_tuple=True)
    A0, A1, A2 = a[b[:, None], tri.long()[ids[b, iy, ix]]].unbind(1)  # each [N, A]

    def image(values):
        empty = torch.zeros(*ids.shape, values.shape[-1], dtype=torch.float64, device=rast.device)
        return empty.index_put((b, iy, ix), values).to(attr.dtype)

    u, v = rast[b, iy, ix].double()[:, :2, None].unbind(1)  # each [N, 1]
    out = image(u * A0 + v * A1 + (1 - u - v) * A2)
    if rast_db is None or diff_attrs is None:
        return out, None

    channels = list(range(a.shape[-1])) if isinstance(diff_attrs, str) else list(diff_attrs)
    du, dv = A0[:, channels, None] - A2[:, channels, None], A1[:, channels, None] - A2[:, channels, None]
    db = rast_db[b, iy, ix].double()[:, None, :]  # [N, 1, 4] = (du/dX, du/dY, dv/dX, dv/dY)
    pairs = du * db[..., 0:2] + dv * db[..., 2:4]  # [N, D, 2]
    return out, image(pairs.flatten(1))
