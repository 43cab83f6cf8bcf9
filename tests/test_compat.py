"""What programs written for the established interface do must work here: through the alias, and by changing one import
line.

Each program is written as people write them, with `import nvdiffrast.torch as dr` at its top.
"""

import math
import subprocess
import sys
import types

import pytest
import torch

import diffrast.compat
import diffrast.torch


def quad(z: float = 0.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A square in the middle of the picture: positions [4, 4], triangles [2, 3], texture coordinates [4, 2]."""
    corners = torch.tensor([[-0.61, -0.61], [0.61, -0.61], [0.61, 0.61], [-0.61, 0.61]])
    pos = torch.cat([corners, torch.full((4, 1), z), torch.ones(4, 1)], 1)
    tri = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    return pos, tri, (corners + 0.61) / 1.22


# --- The alias --------------------------------------------------------------------------------------------------------


def test_alias_has_what_our_module_has(alias):
    import nvdiffrast
    import nvdiffrast.torch as dr
    from nvdiffrast.torch import RasterizeCudaContext

    assert set(diffrast.torch.__all__) <= set(dir(dr))
    same = [name for name in diffrast.torch.__all__ if getattr(dr, name) is getattr(diffrast.torch, name)]
    assert set(diffrast.torch.__all__) - set(same) == {"antialias"}
    assert nvdiffrast.torch is dr
    assert nvdiffrast.__version__ == diffrast.__version__
    assert RasterizeCudaContext is diffrast.torch.RasterizeCudaContext


def test_antialias_is_the_published_rule_unless_told_otherwise(alias):
    import nvdiffrast.torch as dr

    pos, tri, _ = quad()
    rast, _ = dr.rasterize(dr.RasterizeCudaContext(), pos[None], tri, (14, 14))
    mask = (rast[..., 3:] > 0).float()
    pictures = {mode: diffrast.torch.antialias(mask, rast, pos, tri, mode=mode) for mode in ("silhouette", "area")}
    assert not torch.equal(pictures["silhouette"], pictures["area"])
    assert torch.equal(dr.antialias(mask, rast, pos, tri), pictures["silhouette"])
    assert torch.equal(dr.antialias(mask, rast, pos, tri, None, 1.0, mode="area"), pictures["area"])
    assert torch.equal(diffrast.torch.antialias(mask, rast, pos, tri), pictures["area"])


def test_install_and_uninstall_are_idempotent():
    diffrast.compat.install()
    diffrast.compat.install()
    diffrast.compat.uninstall()
    diffrast.compat.uninstall()
    assert not [name for name in sys.modules if name.startswith("nvdiffrast")]


def test_alias_is_opt_in_and_leaves_nothing_behind():
    code = """
import importlib.util, sys
import diffrast.torch, diffrast.compat
before = importlib.util.find_spec("nvdiffrast")
diffrast.compat.install()
assert importlib.util.find_spec("nvdiffrast").name == "nvdiffrast"
diffrast.compat.uninstall()
after = importlib.util.find_spec("nvdiffrast")
assert (before is None) == (after is None)
assert not any(name.startswith("nvdiffrast") for name in sys.modules)
print("fine")
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout == "fine\n", result.stderr


def test_a_package_that_is_in_use_is_not_replaced(monkeypatch):
    real = types.ModuleType("nvdiffrast")
    real.__file__ = "/somewhere/nvdiffrast/__init__.py"
    monkeypatch.setitem(sys.modules, "nvdiffrast", real)
    with pytest.raises(
        RuntimeError, match=r"nvdiffrast is already imported \(from /somewhere/.*call install\(\) before"
    ):
        diffrast.compat.install()
    diffrast.compat.uninstall()
    assert sys.modules["nvdiffrast"] is real


def test_every_public_name_of_the_interface_is_there(alias):
    import nvdiffrast.torch as dr

    contexts = {"RasterizeCudaContext", "RasterizeGLContext", "get_log_level", "set_log_level"}
    ops = {"rasterize", "DepthPeeler", "interpolate", "texture", "antialias"}
    prebuilt = {"texture_construct_mip", "antialias_construct_topology_hash"}
    assert contexts | ops | prebuilt <= set(dr.__all__)
    assert [name for name in dr.__all__ if not getattr(dr, name).__doc__] == []


# --- Programs ---------------------------------------------------------------------------------------------------------


def test_both_context_names_serve_as_annotations(alias):
    program = """
import typing
import nvdiffrast.torch as dr

Context = typing.Union[dr.RasterizeCudaContext, dr.RasterizeGLContext]

class Renderer:
    glctx: typing.Optional[dr.RasterizeGLContext] = None

    def __init__(self, glctx: "Context | None" = None):
        self.glctx = glctx or dr.RasterizeCudaContext()

def render(glctx: typing.Union[dr.RasterizeCudaContext, dr.RasterizeGLContext], pos, tri):
    return dr.rasterize(glctx, pos, tri, resolution=[4, 4])
"""
    namespace: dict = {}
    exec(program, namespace)
    hints = namespace["render"].__annotations__
    assert set(hints["glctx"].__args__) == {diffrast.torch.RasterizeCudaContext, diffrast.torch.RasterizeGLContext}
    assert isinstance(namespace["Renderer"]().glctx, diffrast.torch.RasterizeCudaContext)


def test_attributes_without_a_batch_under_many_views(context):
    """Vertex colours [V, C], transformed positions [B, V, 4]."""
    import nvdiffrast.torch as dr

    pos, tri, uv = quad()
    mvp = torch.stack([torch.eye(4), torch.diag(torch.tensor([0.5, 0.5, 1, 1]))])
    pos_clip = torch.matmul(pos, mvp.transpose(1, 2))
    rast_out, _ = dr.rasterize(context, pos_clip, tri, resolution=[32, 32])
    col, _ = dr.interpolate(uv, rast_out, tri)
    batched, _ = dr.interpolate(uv[None, ...], rast_out, tri)
    assert col.shape == (2, 32, 32, 2)
    assert torch.equal(col, batched)
    covered = rast_out[..., 3] > 0
    assert covered[0].sum() > 3 * covered[1].sum() > 0
    # At the middle of the picture, where the two views agree, the colour is that of the middle of the square.
    assert torch.allclose(col[:, 15:17, 15:17].mean((1, 2)), torch.tensor([0.5, 0.5]), atol=1e-6)


def test_antialias_with_the_positions_before_they_were_batched(context):
    import nvdiffrast.torch as dr

    pos, tri, _ = quad()
    pos = pos.requires_grad_()
    rast, _ = dr.rasterize(context, pos[None], tri, (24, 24))
    mask = (rast[..., 3:] > 0).float()
    flat = dr.antialias(mask, rast, pos, tri)
    (gradient,) = torch.autograd.grad(flat.sum(), pos, retain_graph=True)
    batched = dr.antialias(mask, rast, pos[None], tri)
    assert torch.equal(flat, batched)
    # More of the picture is covered when a corner moves outwards.
    assert bool((gradient[:, :2] * pos[:, :2].detach().sign() > 0).all())


def test_derivatives_given_but_not_asked_for(context):
    import nvdiffrast.torch as dr

    pos, tri, uv = quad()
    rast, rast_db = dr.rasterize(context, pos[None], tri, resolution=[16, 16])
    out, out_da = dr.interpolate(uv, rast, tri, rast_db=rast_db)
    assert out_da.shape == (1, 16, 16, 0)
    with_da, da = dr.interpolate(uv, rast, tri, rast_db=rast_db, diff_attrs="all")
    assert da.shape == (1, 16, 16, 4)
    assert torch.equal(out, with_da)
    some, da0 = dr.interpolate(uv, rast, tri, rast_db=rast_db, diff_attrs=[1])
    assert torch.equal(some, out)
    assert torch.equal(da0, da[..., 2:])


@pytest.mark.parametrize("resolution", [[12, 20], (12, 20), torch.Size([12, 20]), torch.tensor([12, 20])])
def test_kinds_of_resolution(context, resolution):
    import nvdiffrast.torch as dr

    pos, tri, _ = quad()
    rast, rast_db = dr.rasterize(context, pos[None], tri, resolution=resolution)
    assert rast.shape == rast_db.shape == (1, 12, 20, 4)


def test_range_mode(context):
    """Several meshes in one buffer of vertices, one image each."""
    import nvdiffrast.torch as dr

    pos, tri, uv = quad()
    ranges = torch.tensor([[0, 1], [1, 1], [0, 2]], dtype=torch.int32)
    rast, _ = dr.rasterize(context, pos, tri, resolution=[16, 16], ranges=ranges)
    assert rast.shape == (3, 16, 16, 4)
    ids = [set(image[..., 3].unique().tolist()) for image in rast]
    assert ids == [{0, 1}, {0, 2}, {0, 1, 2}]
    colour = dr.antialias(dr.interpolate(uv, rast, tri)[0], rast, pos, tri)
    assert colour.shape == (3, 16, 16, 2)


def test_several_hundred_contexts(alias):
    import nvdiffrast.torch as dr

    pos, tri, _ = quad()
    first, _ = dr.rasterize(dr.RasterizeCudaContext(), pos[None], tri, (8, 8))
    contexts = [dr.RasterizeGLContext() for _ in range(200)] + [dr.RasterizeCudaContext("cuda") for _ in range(200)]
    for ctx in contexts:
        rast, _ = dr.rasterize(ctx, pos[None], tri, (8, 8))
        assert torch.equal(rast, first)


def test_manual_context_is_set_and_released(alias):
    import nvdiffrast.torch as dr

    pos, tri, _ = quad()
    glctx = dr.RasterizeGLContext(output_db=False, mode="manual", device="cuda:0")
    glctx.set_context()
    rast, rast_db = dr.rasterize(glctx, pos[None], tri, resolution=[8, 8])
    glctx.release_context()
    assert rast.shape == (1, 8, 8, 4)
    assert rast_db.shape == (1, 8, 8, 0)


def test_log_level(alias):
    import nvdiffrast.torch as dr

    before = dr.get_log_level()
    for level in range(4):
        dr.set_log_level(level)
        assert dr.get_log_level() == level
    dr.set_log_level(before)


def test_depth_peeling(context):
    import nvdiffrast.torch as dr

    (near, tri, _), (far, _, _) = quad(-0.5), quad(0.5)
    pos, tri = torch.cat([near, far])[None], torch.cat([tri, tri + 4])
    with dr.DepthPeeler(context, pos, tri, resolution=[8, 8]) as peeler:
        layers = [peeler.rasterize_next_layer()[0] for _ in range(3)]
    depths = [layer[0, 4, 4, 2].item() for layer in layers]
    assert depths == [-0.5, 0.5, 0.0]
    assert [layer[0, 4, 4, 3].item() > 0 for layer in layers] == [True, True, False]


def textured(dr, context, size: int = 16):
    pos, tri, uv = quad()
    rast, rast_db = dr.rasterize(context, pos[None].repeat(3, 1, 1), tri, resolution=[size, size])
    return dr.interpolate(uv[None], rast, tri, rast_db=rast_db, diff_attrs="all")


def test_one_texture_under_a_batch_of_views(context):
    import nvdiffrast.torch as dr

    texc, _ = textured(dr, context)
    tex = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    shared = dr.texture(tex, texc, filter_mode="linear")
    repeated = dr.texture(tex.expand(3, -1, -1, -1), texc, filter_mode="linear")
    assert shared.shape == (3, 16, 16, 3)
    assert torch.equal(shared, repeated)


def test_derivatives_given_to_a_filter_without_mipmaps(context):
    import nvdiffrast.torch as dr

    texc, texd = textured(dr, context)
    tex = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    with_da = dr.texture(tex, texc, texd, filter_mode="linear", boundary_mode="clamp")
    assert torch.equal(with_da, dr.texture(tex, texc, filter_mode="linear", boundary_mode="clamp"))


def test_mip_as_the_object_or_a_list(context):
    import nvdiffrast.torch as dr

    texc, texd = textured(dr, context)
    tex = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    here = dr.texture(tex, texc, texd, filter_mode="linear-mipmap-linear", max_mip_level=4)
    stack = dr.texture_construct_mip(tex, max_mip_level=4)
    assert torch.equal(here, dr.texture(tex, texc, texd, mip=stack))
    levels, level = [], tex
    for _ in range(4):
        level = torch.nn.functional.avg_pool2d(level.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1).contiguous()
        levels.append(level)
    assert torch.allclose(here, dr.texture(tex, texc, texd, mip=levels), atol=1e-6)
    # 16 pixels over 64 texels: the picture is taken from the higher levels, not from the texture itself.
    assert not torch.allclose(here, dr.texture(tex, texc), atol=1e-2)


def test_bias_alone_chooses_the_level(context):
    """As in prefiltered environment maps: the roughness is the level."""
    import nvdiffrast.torch as dr

    texc, _ = textured(dr, context)
    tex = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    top = dr.texture(tex, texc, mip_level_bias=torch.full(texc.shape[:3], 9.0), filter_mode="linear-mipmap-linear")
    assert torch.allclose(top, tex.mean((1, 2)).expand_as(top), atol=1e-6)
    bottom = dr.texture(tex, texc, mip_level_bias=torch.zeros(texc.shape[:3]), filter_mode="linear-mipmap-linear")
    assert torch.equal(bottom, dr.texture(tex, texc, filter_mode="linear"))


def test_cube_map(context):
    import nvdiffrast.torch as dr

    envmap = torch.arange(6.0).view(1, 6, 1, 1, 1).expand(1, 6, 4, 4, 1).contiguous()
    axes = torch.tensor([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
    seen = dr.texture(envmap, axes.view(1, 1, 6, 3), filter_mode="linear", boundary_mode="cube")
    assert seen.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_program_from_positions_to_a_picture_that_learns(context):
    """The usual loop: transform, rasterize, interpolate, texture, antialias, L2; the square finds its place."""
    import nvdiffrast.torch as dr

    pos, tri, uv = quad()
    tex = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    topology = dr.antialias_construct_topology_hash(tri)

    def render(shift, size):
        clip = torch.cat([pos[:, :2] * size + shift, pos[:, 2:]], 1)[None]
        rast, rast_db = dr.rasterize(context, clip, tri, resolution=[48, 48])
        texc, texd = dr.interpolate(uv[None], rast, tri, rast_db=rast_db, diff_attrs="all")
        color = dr.texture(tex, texc, texd, filter_mode="linear-mipmap-linear", max_mip_level=3)
        color = torch.where(rast[..., 3:] > 0, color, torch.zeros_like(color))
        return dr.antialias(color, rast, clip, tri, topology_hash=topology)

    target = render(torch.tensor([0.11, -0.07]), 0.8)
    shift = torch.zeros(2, requires_grad=True)
    size = torch.tensor(1.0, requires_grad=True)
    optimizer = torch.optim.Adam([shift, size], lr=0.01)
    for _ in range(150):
        loss = ((render(shift, size) - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert math.dist(shift.tolist(), [0.11, -0.07]) < 5e-3
    assert abs(size.item() - 0.8) < 5e-3
