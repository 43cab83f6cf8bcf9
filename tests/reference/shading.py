"""An independent renderer in plain NumPy: a z-buffer, and light summed over directions. No shadows, no tables, no
prefilter.

The reflection model is that of the scene layer's materials, written again: Lambert, and GGX with Smith's
height-correlated shadowing and Schlick's Fresnel term; the energy of the specular lobe is integrated numerically where
it is needed.
"""

import numpy as np


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def zbuffer(points, faces, size):
    """Nearest face (-1: none) and barycentrics [H, W, 3], perspective-correct, at pixel centres. points: [V, 3] = pixel
    x, pixel y (from the bottom left corner) and depth > 0."""
    height, width = size
    best = np.full(size, np.inf)
    face_of, weights = np.full(size, -1), np.zeros((*size, 3))
    for f, corner in enumerate(points[faces]):
        low = np.maximum(np.floor(corner[:, :2].min(0) - 0.5), 0).astype(int)
        high = np.minimum(np.ceil(corner[:, :2].max(0) + 0.5), (width, height)).astype(int)
        if (high <= low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0]) + 0.5, np.arange(low[1], high[1]) + 0.5)
        (ax, ay), (bx, by), (cx, cy) = corner[:, :2]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0:
            continue
        b = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
        c = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
        w = np.stack([1 - b - c, b, c], -1)
        w_z = w / corner[:, 2]
        depth = 1 / w_z.sum(-1)
        window = np.s_[low[1] : high[1], low[0] : high[0]]
        wins = (w >= 0).all(-1) & (depth < best[window])
        best[window] = np.where(wins, depth, best[window])
        face_of[window] = np.where(wins, f, face_of[window])
        weights[window] = np.where(wins[..., None], w_z * depth[..., None], weights[window])
    return face_of, weights


def latlong(image, direction):
    """Bilinear look-up of a lat-long map [H, W, 3], row 0 below, middle along -z, at unit directions [..., 3]."""
    height, width = image.shape[:2]
    x, y, z = np.moveaxis(direction, -1, 0)
    u = (np.arctan2(x, -z) / (2 * np.pi) + 0.5) * width - 0.5
    v = np.clip((np.arcsin(np.clip(y, -1, 1)) / np.pi + 0.5) * height - 0.5, 0, height - 1)
    i, j = np.floor(u).astype(int), np.minimum(np.floor(v).astype(int), height - 2)
    fu, fv = (u - i)[..., None], (v - j)[..., None]
    below = image[j, i % width] * (1 - fu) + image[j, (i + 1) % width] * fu
    above = image[j + 1, i % width] * (1 - fu) + image[j + 1, (i + 1) % width] * fu
    return below * (1 - fv) + above * fv


def sky(rows):
    """Directions of a grid over the sphere [2 rows^2, 3], and their solid angles."""
    latitude = ((np.arange(rows) + 0.5) / rows - 0.5) * np.pi
    longitude = (np.arange(2 * rows) + 0.5) / rows * np.pi
    latitude, longitude = (a.reshape(-1) for a in np.meshgrid(latitude, longitude, indexing="ij"))
    d = np.stack([np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)], -1)
    return d, np.cos(latitude) * (np.pi / rows) ** 2


def lobe(n_v, n_l, n_h, v_h, roughness, f0):
    """The GGX reflection, one bounce, without the cosine; f0 [..., C]."""
    a2 = roughness**4
    d = a2 / (np.pi * (n_h**2 * (a2 - 1) + 1) ** 2)
    lam_v = 0.5 * (np.sqrt(1 + a2 * (1 / n_v**2 - 1)) - 1)
    lam_l = 0.5 * (np.sqrt(1 + a2 * (1 / n_l**2 - 1)) - 1)
    g = 1 / (1 + lam_v + lam_l)
    return (d * g / (4 * n_v * n_l))[..., None] * (f0 + (1 - f0) * (1 - v_h[..., None]) ** 5)


def lobe_energy(n_v, roughness, f0, rows=96):
    """The energy of the lobe at angles n_v [K]: `lobe` times the cosine, integrated over facets' normals: [K, C]."""
    t = (np.arange(4 * rows) + 0.5) / (4 * rows)
    phi = (np.arange(rows) + 0.5) / rows * 2 * np.pi
    a2 = roughness**4
    cos_h = np.sqrt((1 - t) / (1 + (a2 - 1) * t))[:, None]  # distributed as D cos
    h = np.stack(
        [np.sqrt(1 - cos_h**2) * np.cos(phi), np.sqrt(1 - cos_h**2) * np.sin(phi), cos_h + 0 * phi], -1
    ).reshape(-1, 3)
    total = []
    for c in n_v:
        v = np.array([np.sqrt(1 - c * c), 0, c])
        v_h = h @ v
        n_l = (2 * v_h[:, None] * h - v)[:, 2]
        ok = (n_l > 1e-6) & (v_h > 0)
        v_h, n_l, n_h = v_h[ok], n_l[ok], h[ok, 2]
        density = a2 / (np.pi * (n_h**2 * (a2 - 1) + 1) ** 2) * n_h / (4 * v_h)  # of l
        value = lobe(np.full_like(n_l, c), n_l, n_h, v_h, roughness, f0) * (n_l / density)[:, None]
        total.append(value.sum(0) / len(h))
    return np.array(total)


def metallic_roughness(normal, view, to, radiance, base, metallic, roughness):
    """Radiance [N, 3] towards `view` of points under light from directions `to` [L, 3] with radiance times solid angle
    [L, 3]."""
    f0 = 0.04 * (1 - metallic) + base * metallic  # [N, 3]
    n_v = np.clip((normal * view).sum(-1), 1e-4, 1)
    knots = np.linspace(0.01, 1, 34) ** 1.5
    perfect = lobe_energy(knots, roughness, np.ones(1))[:, 0]
    plain = lobe_energy(knots, roughness, np.zeros(1))[:, 0]  # f0 A + B at f0 = 0
    perfect, plain = (np.interp(n_v, knots, e)[:, None] for e in (perfect, plain))
    boost = 1 + f0 * (1 / perfect - 1)
    energy = (f0 * (perfect - plain) + plain) * boost
    diffuse = base * (1 - metallic) * (1 - energy) / np.pi
    out = np.empty_like(normal)
    for start in range(0, len(normal), 64):
        part = np.s_[start : start + 64]
        n, v = normal[part, None], view[part, None]
        n_l = (n * to).sum(-1)
        h = unit(v + to)
        n_h, v_h = np.clip((n * h).sum(-1), 0, 1), np.clip((v * h).sum(-1), 0, 1)
        up = np.maximum(n_l, 1e-6)
        f = lobe(np.broadcast_to(n_v[part, None], n_l.shape), up, n_h, v_h, roughness, f0[part, None])
        f = f * boost[part, None] + diffuse[part, None]
        out[part] = (f * np.maximum(n_l, 0)[..., None] * radiance).sum(1)
    return out


def picture(camera, vertices, normals, faces, shade, samples):
    """The mean over samples x samples rays per pixel of shade(position, normal, view, face, barycentrics), black
    elsewhere: [H, W, 3]."""
    K, view = camera.K.double().numpy().copy(), camera.world_to_camera.double().numpy()
    K[:2] *= samples
    p = vertices @ view[:3, :3].T + view[:3, 3]
    flat = (p * (1, 1, -1)) @ K.T
    points = np.concatenate([flat[:, :2] / flat[:, 2:], -p[:, 2:]], 1)
    size = (camera.height * samples, camera.width * samples)
    face, weights = zbuffer(points, faces, size)
    hit = face >= 0
    corner = faces[face[hit]]
    position = (weights[hit][..., None] * vertices[corner]).sum(1)
    normal = unit((weights[hit][..., None] * normals[corner]).sum(1))
    eye = -view[:3, :3].T @ view[:3, 3]
    toward = unit(eye - position)
    image = np.zeros((*size, 3))
    image[hit] = shade(position, normal, toward, face[hit], weights[hit])
    h, w = camera.height, camera.width
    return image.reshape(h, samples, w, samples, 3).mean((1, 3))


def psnr(a, b):
    """In dB, of values clipped to 0..1."""
    return -10 * np.log10(np.mean((np.clip(a, 0, 1) - np.clip(b, 0, 1)) ** 2))
