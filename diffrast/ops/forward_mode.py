"""Forward-mode derivatives (`torch.func.jvp`, `torch.autograd.forward_ad`) of the primitives.

torch's registered operators know backward only. So, while a level of forward mode is open, the primitives call their
operator through a `torch.autograd.Function` that also has a rule for tangents. The rules use the forward operator where
it is linear, and the hand-written backward where an output depends on few numbers: one cotangent for each of its
channels gives those derivatives at all pixels at once. Antialiasing has kernels of its own.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

ops = torch.ops.diffrast
Tangent = torch.Tensor | None


def call(name: str, *args: Any) -> Any:
    """`torch.ops.diffrast.<name>(*args)`, with tangents where forward mode is on."""
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return getattr(ops, name)(*args)
    flat, spec = pytree.tree_flatten(args)
    out = _Dual.apply(name, spec, *flat)
    return list(out) if name == "texture_mip" else out


class _Dual(torch.autograd.Function):
    @staticmethod
    def forward(name, spec, *flat):
        out = getattr(ops, name)(*pytree.tree_unflatten(flat, spec))
        return tuple(out) if isinstance(out, list) else out

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.name, ctx.spec, *flat = inputs
        outputs = output if isinstance(output, tuple) else (output,)
        ctx.tensors = [isinstance(x, torch.Tensor) for x in flat]
        ctx.others = [None if t else x for t, x in zip(ctx.tensors, flat, strict=True)]
        kept = [x for x in flat if isinstance(x, torch.Tensor)]
        ctx.save_for_forward(*kept, *outputs)
        ctx.save_for_backward(*kept, *outputs)
        ctx.single = not isinstance(output, tuple)
        ctx.mark_non_differentiable(*(outputs[k] for k in FIXED.get(ctx.name, ()) if k < len(outputs)))

    @staticmethod
    def _inputs(ctx):
        saved = list(ctx.saved_tensors)
        flat = [saved.pop(0) if tensor else other for tensor, other in zip(ctx.tensors, ctx.others, strict=True)]
        return flat, saved

    @staticmethod
    def jvp(ctx, _, __, *tangents):
        flat, outputs = _Dual._inputs(ctx)
        moving = [t if isinstance(t, torch.Tensor) else None for t in tangents]
        found = RULES[ctx.name](pytree.tree_unflatten(flat, ctx.spec), pytree.tree_unflatten(moving, ctx.spec), outputs)
        return found[0] if ctx.single else tuple(found)

    @staticmethod
    def backward(ctx, *grads):
        flat, _ = _Dual._inputs(ctx)
        with torch.enable_grad():
            leaves = [
                x.detach().requires_grad_(needed) if isinstance(x, torch.Tensor) and x.is_floating_point() else x
                for x, needed in zip(flat, ctx.needs_input_grad[2:], strict=True)
            ]
            out = getattr(ops, ctx.name)(*pytree.tree_unflatten(leaves, ctx.spec))
            outputs = [out] if isinstance(out, torch.Tensor) else list(out)
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad and g is not None]
        wanted = [x for x in leaves if isinstance(x, torch.Tensor) and x.requires_grad]
        found = iter(_grad(pairs, wanted))
        return (None, None, *(next(found) if isinstance(x, torch.Tensor) and x.requires_grad else None for x in leaves))


def _grad(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]], wanted: Sequence[torch.Tensor]) -> Sequence[Tangent]:
    if not pairs or not wanted:
        return [None] * len(wanted)
    outputs, grads = zip(*pairs, strict=True)
    return torch.autograd.grad(outputs, wanted, grads, allow_unused=True)


def _sum(*terms: Tangent, like: torch.Tensor) -> torch.Tensor:
    present = [t for t in terms if t is not None]
    return torch.stack(present).sum(0) if present else torch.zeros_like(like)


def _by_channel(
    out: torch.Tensor, backward: Callable[[torch.Tensor], Sequence[torch.Tensor]], motions: Sequence[Tangent]
) -> torch.Tensor:
    """The tangent of `out` `[..., C]` whose pixels depend on their own pixel of each input alone: `backward` maps a
    cotangent of out to the gradients of those inputs `[..., n]`, whose tangents are `motions`."""
    columns = []
    for channel in range(out.shape[-1]):
        cotangent = torch.zeros_like(out)
        cotangent[..., channel] = 1
        gradients = backward(cotangent)
        terms = [
            (g * m).reshape(*out.shape[:-1], -1).sum(-1)
            for g, m in zip(gradients, motions, strict=True)
            if m is not None
        ]
        columns.append(_sum(*terms, like=out[..., 0]))
    return torch.stack(columns, -1)


def _resolve(args, tangents, outputs):
    """As if every pixel had a triangle of its own."""
    (pos, tri, ids, with_db), (motion, *_), (rast, rast_db) = args, tangents, outputs
    if motion is None:
        return [torch.zeros_like(rast), torch.zeros_like(rast_db)]
    batch, pixels = ids.shape[0], ids.shape[1] * ids.shape[2]
    corners = tri[(ids - 1).clamp(min=0).long()].long().view(batch, 3 * pixels)

    def own(values):
        values = values.expand(batch, *values.shape[-2:])
        return values.gather(1, corners[..., None].expand(-1, -1, 4)).contiguous()

    place, moved = own(pos), own(motion)
    alone = torch.arange(3 * pixels, dtype=tri.dtype, device=tri.device).view(-1, 3)
    index = torch.arange(pixels, dtype=ids.dtype, device=ids.device).view(1, *ids.shape[1:])
    index = torch.where(ids > 0, index + 1, 0).contiguous()
    shape = (*ids.shape, 12)

    def first(cotangent):
        return [ops.resolve_backward(cotangent, None, place, alone, index).view(shape)]

    def second(cotangent):
        return [ops.resolve_backward(torch.zeros_like(rast), cotangent, place, alone, index).view(shape)]

    moved = moved.view(shape)
    return [
        _by_channel(rast, first, [moved]),
        _by_channel(rast_db, second, [moved]) if with_db else torch.zeros_like(rast_db),
    ]


def _interpolate(args, tangents, outputs):
    """Linear in the attributes and in rast_db, affine in u and v."""
    (attr, rast, tri, rast_db, channels), (d_attr, d_rast, _, d_db, _) = args, tangents
    out, out_da = outputs
    terms, terms_da = [], []
    if d_attr is not None:
        term, term_da = ops.interpolate(d_attr.contiguous(), rast, tri, rast_db, channels)
        terms.append(term)
        terms_da.append(term_da)
    if d_rast is not None:
        at = [torch.cat([uv, rast[..., 2:]], -1) for uv in (d_rast[..., :2], torch.zeros_like(rast[..., :2]))]
        moved, still = (ops.interpolate(attr, r.contiguous(), tri, None, [])[0] for r in at)
        terms.append(moved - still)
    if d_db is not None:
        terms_da.append(ops.interpolate(attr, rast, tri, d_db.contiguous(), channels)[1])
    return [_sum(*terms, like=out), _sum(*terms_da, like=out_da)]


def _texture(args, tangents, outputs):
    levels, *sampling = args
    d_levels, *motions = tangents
    out = outputs[0]
    linear = None
    if any(d is not None for d in d_levels):
        moved = [torch.zeros_like(x) if d is None else d.contiguous() for x, d in zip(levels, d_levels, strict=True)]
        linear = ops.texture(moved, *sampling)
    rest = None
    if any(d is not None for d in motions[:3]):
        needs = [d is not None for d in motions[:3]]

        def backward(cotangent):
            return ops.texture_backward(cotangent, levels, *sampling, [False] * len(levels), needs)[1:]

        rest = _by_channel(out, backward, motions[:3])
    return [_sum(linear, rest, like=out)]


def _texture_mipmapped(args, tangents, outputs):
    tex, count, *sampling = args
    d_tex, _, *motions = tangents
    out, flat = outputs
    linear = None if d_tex is None else ops.texture_mipmapped(d_tex.contiguous(), count, *sampling)[0]
    rest = None
    if any(d is not None for d in motions[:3]):
        needs = [d is not None for d in motions[:3]]

        def backward(cotangent):
            return ops.texture_mipmapped_backward(cotangent, tex, flat, count, *sampling, False, needs)[1:]

        rest = _by_channel(out, backward, motions[:3])
    return [_sum(linear, rest, like=out), None]


def _texture_mip(args, tangents, outputs):
    _, count, axes = args
    motion = tangents[0]
    return (
        [torch.zeros_like(x) for x in outputs] if motion is None else ops.texture_mip(motion.contiguous(), count, axes)
    )


def _antialias(kernel: str):
    def rule(args, tangents, outputs):
        color, rast, pos, tri, _, boost, _ = args
        d_color, _, d_pos, *_ = tangents
        d_color = torch.zeros_like(color) if d_color is None else d_color.contiguous()
        d_pos = torch.zeros_like(pos) if d_pos is None else d_pos.contiguous()
        found = outputs[1:]
        return [getattr(ops, kernel)(d_color, d_pos, color, rast, pos, tri, *found, boost), *[None] * len(found)]

    return rule


# Rules: (arguments, their tangents, outputs) -> tangents of the outputs. FIXED: outputs that have no derivative.
RULES = {
    "resolve": _resolve,
    "interpolate": _interpolate,
    "texture": _texture,
    "texture_mipmapped": _texture_mipmapped,
    "texture_mip": _texture_mip,
    "antialias": _antialias("antialias_jvp"),
    "antialias_area": _antialias("antialias_area_jvp"),
}
FIXED = {"texture_mipmapped": (1,), "antialias": (1,), "antialias_area": (1, 2, 3)}
