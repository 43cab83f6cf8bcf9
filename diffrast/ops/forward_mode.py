"""Forward-mode derivatives (`torch.func.jvp`, `torch.autograd.forward_ad`) of the primitives.

torch's registered operators know backward only. So, while a level of forward mode is open, the primitives call their
operator through a `torch.autograd.Function` that also has a rule for tangents. The rules use the forward operator where
it is linear, and the hand-written backward where an output depends on few numbers: one cotangent for each of its
channels gives those derivatives at all pixels at once. Antialiasing has kernels of its own.
"""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from . import registration

ops = torch.ops.diffrast
autograd_state: Any = forward_ad  # the level is not public
Tangent = torch.Tensor | None


def call(name: str, *args: Any) -> Any:
    """`torch.ops.diffrast.<name>(*args)`, with tangents where forward mode is on."""
    if torch.compiler.is_compiling() or autograd_state._current_level < 0:
        return getattr(ops, name)(*args)
    flat, spec = pytree.tree_flatten(args)
    apply: Callable[..., Any] = getattr(_Dual, "apply")  # noqa: B009 - torch does not declare its type
    out = apply(name, spec, *flat)
    return list(out) if name == "texture_mip" else out


class _Dual(torch.autograd.Function):
    @staticmethod
    def forward(name: str, spec: pytree.TreeSpec, *flat: Any) -> Any:
        out = getattr(ops, name)(*pytree.tree_unflatten(flat, spec))
        return tuple(out) if name == "texture_mip" else out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.name, ctx.spec, *flat = inputs
        ctx.single = isinstance(output, torch.Tensor)
        outputs: tuple[torch.Tensor, ...] = (output,) if ctx.single else output
        ctx.tensors = [isinstance(x, torch.Tensor) for x in flat]
        ctx.others = [None if t else x for t, x in zip(ctx.tensors, flat, strict=True)]
        kept = [x for x in flat if isinstance(x, torch.Tensor)]
        ctx.save_for_forward(*kept, *outputs)
        ctx.save_for_backward(*kept, *outputs)
        ctx.mark_non_differentiable(*(outputs[k] for k in FIXED.get(ctx.name, ()) if k < len(outputs)))

    @staticmethod
    def _inputs(ctx: Any) -> tuple[list[Any], list[torch.Tensor]]:
        saved: list[torch.Tensor] = list(ctx.saved_tensors)
        flat = [saved.pop(0) if tensor else other for tensor, other in zip(ctx.tensors, ctx.others, strict=True)]
        return flat, saved

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        flat, outputs = _Dual._inputs(ctx)
        moving = [t if isinstance(t, torch.Tensor) else None for t in grad_inputs[2:]]
        names = registration.names_of(ctx.name)
        inputs, motions = (
            SimpleNamespace(**dict(zip(names, pytree.tree_unflatten(values, ctx.spec), strict=True)))
            for values in (flat, moving)
        )
        found = RULES[ctx.name](inputs, motions, outputs)
        return found[0] if ctx.single else tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tangent) -> Any:
        flat, _ = _Dual._inputs(ctx)
        with torch.enable_grad():
            leaves = [
                x.detach().requires_grad_(needed) if isinstance(x, torch.Tensor) and x.is_floating_point() else x
                for x, needed in zip(flat, ctx.needs_input_grad[2:], strict=True)
            ]
            out = getattr(ops, ctx.name)(*pytree.tree_unflatten(leaves, ctx.spec))
            outputs: list[torch.Tensor] = [out] if isinstance(out, torch.Tensor) else list(out)
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
    columns: list[torch.Tensor] = []
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


def _resolve(x: Any, d: Any, outputs: list[torch.Tensor]) -> list[Tangent]:
    """As if every pixel had a triangle of its own."""
    rast, rast_db = outputs
    ids, tri = x.ids, x.tri
    if d.pos is None:
        return [torch.zeros_like(rast), torch.zeros_like(rast_db)]
    batch, pixels = ids.shape[0], ids.shape[1] * ids.shape[2]
    corners = tri[(ids - 1).clamp(min=0).long()].long().view(batch, 3 * pixels)

    def own(values: torch.Tensor) -> torch.Tensor:
        values = values.expand(batch, *values.shape[-2:])
        return values.gather(1, corners[..., None].expand(-1, -1, 4)).contiguous()

    alone = torch.arange(3 * pixels, dtype=tri.dtype, device=tri.device).view(-1, 3)
    index = torch.arange(pixels, dtype=ids.dtype, device=ids.device).view(1, *ids.shape[1:])
    index = torch.where(ids > 0, index + 1, 0).contiguous()
    shape, place = (*ids.shape, 12), own(x.pos)

    def first(cotangent: torch.Tensor) -> Sequence[torch.Tensor]:
        return [ops.resolve_backward(cotangent, None, place, alone, index).view(shape)]

    def second(cotangent: torch.Tensor) -> Sequence[torch.Tensor]:
        return [ops.resolve_backward(torch.zeros_like(rast), cotangent, place, alone, index).view(shape)]

    moved = own(d.pos).view(shape)
    return [
        _by_channel(rast, first, [moved]),
        _by_channel(rast_db, second, [moved]) if x.with_db else torch.zeros_like(rast_db),
    ]


def _interpolate(x: Any, d: Any, outputs: list[torch.Tensor]) -> list[Tangent]:
    """Linear in the attributes and in rast_db, affine in u and v."""
    out, out_da = outputs
    terms: list[torch.Tensor] = []
    terms_da: list[torch.Tensor] = []
    if d.attr is not None:
        term, term_da = ops.interpolate(**{**vars(x), "attr": d.attr.contiguous()})
        terms.append(term)
        terms_da.append(term_da)
    if d.rast is not None:
        at = [torch.cat([uv, x.rast[..., 2:]], -1) for uv in (d.rast[..., :2], torch.zeros_like(x.rast[..., :2]))]
        moved, still = (ops.interpolate(x.attr, r.contiguous(), x.tri, None, [])[0] for r in at)
        terms.append(moved - still)
    if d.rast_db is not None:
        terms_da.append(ops.interpolate(**{**vars(x), "rast_db": d.rast_db.contiguous()})[1])
    return [_sum(*terms, like=out), _sum(*terms_da, like=out_da)]


def _sampling(out: torch.Tensor, d: Any, backward: Callable[..., Sequence[torch.Tensor]]) -> Tangent:
    """The share of the coordinates in a sample's tangent; `backward` as for `_by_channel`, with what it has to give."""
    motions = [d.uv, d.uv_da, d.bias]
    needs = [motion is not None for motion in motions]
    return _by_channel(out, lambda cotangent: backward(cotangent, needs), motions) if any(needs) else None


def _texture(x: Any, d: Any, outputs: list[torch.Tensor]) -> list[Tangent]:
    def backward(cotangent: torch.Tensor, needs: list[bool]) -> Sequence[torch.Tensor]:
        none = [False] * len(x.levels)
        return ops.texture_backward(grad_out=cotangent, **vars(x), needs_levels=none, needs_rest=needs)[1:]

    linear = None
    if any(motion is not None for motion in d.levels):
        moved = [torch.zeros_like(v) if m is None else m.contiguous() for v, m in zip(x.levels, d.levels, strict=True)]
        linear = ops.texture(**{**vars(x), "levels": moved})
    return [_sum(linear, _sampling(outputs[0], d, backward), like=outputs[0])]


def _texture_mipmapped(x: Any, d: Any, outputs: list[torch.Tensor]) -> list[Tangent]:
    out, flat = outputs

    def backward(cotangent: torch.Tensor, needs: list[bool]) -> Sequence[torch.Tensor]:
        given: dict[str, Any] = {**vars(x), "flat": flat, "needs_tex": False, "needs_rest": needs}
        return ops.texture_mipmapped_backward(grad_out=cotangent, **given)[1:]

    linear = None if d.tex is None else ops.texture_mipmapped(**{**vars(x), "tex": d.tex.contiguous()})[0]
    return [_sum(linear, _sampling(out, d, backward), like=out), None]


def _texture_mip(x: Any, d: Any, outputs: list[torch.Tensor]) -> Sequence[Tangent]:
    still = d.tex is None
    return (
        [torch.zeros_like(level) for level in outputs]
        if still
        else ops.texture_mip(d.tex.contiguous(), x.count, x.axes)
    )


def _antialias(operator: str) -> Callable[[Any, Any, list[torch.Tensor]], list[Tangent]]:
    def rule(x: Any, d: Any, outputs: list[torch.Tensor]) -> list[Tangent]:
        _, *found = outputs
        color, pos = (
            torch.zeros_like(v) if m is None else m.contiguous() for v, m in ((x.color, d.color), (x.pos, d.pos))
        )
        moved = getattr(ops, operator)(color, pos, x.color, x.rast, x.pos, x.tri, *found, x.boost)
        return [moved, *[None] * len(found)]

    return rule


# Rules: (inputs by name, their tangents likewise, outputs) -> tangents of the outputs. FIXED: outputs that have no
# derivative.
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
