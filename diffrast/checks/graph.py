"""`diffrast.lint(loss)`: walks the autograd graph and says where gradients of positions get lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from ..ops import registration
from .findings import Finding, Findings

Node = Any  # torch's graph nodes have no common public type


def lint(loss: Tensor, *parameters: Tensor) -> Findings:
    """Warns of losses that cannot move vertices as they should. Call it once, after the forward pass and before
    `backward()`.

    Args:
        loss: a tensor made with the primitives.
        parameters: tensors that ought to get a gradient from it.

    Returns:
        Findings, empty if nothing is wrong. Codes:
        no-gradient: the loss, or one of `parameters`, is not connected.
        not-finite: the loss is NaN or infinite.
        not-antialiased: positions want a gradient, but no `antialias` that knows them lies on the way to the loss.
        masked-after-antialias: the antialiased picture is cut by the mask of covered pixels, which removes half of each
        silhouette. reads-depth: the loss reads z/w (or the id) of `rast`, which carries no gradient.
        compiled: part of the graph is hidden inside of `torch.compile`; lint the uncompiled function.

    Raises ValueError after `backward()` has freed the graph.
    """
    if not isinstance(loss, Tensor):
        raise TypeError(f"lint(): loss must be a tensor; got {type(loss).__name__}")
    findings = Findings()
    if not bool(torch.isfinite(loss).all()):
        findings.append(Finding("not-finite", f"the loss is {loss.detach().flatten()[:1].tolist()[0]}"))
    if loss.grad_fn is None:
        findings.append(
            Finding(
                "no-gradient",
                "nothing on the way to the loss requires a gradient. If positions do: coverage alone (rast[..., 3] > "
                "0) carries none; pass the picture through antialias(color, rast, pos, tri)",
            )
        )
        return findings
    graph = _Graph(loss.grad_fn)
    findings += _connections(graph, parameters)
    findings += _antialiased(graph)
    findings += _masks(graph)
    findings += _depth(graph)
    return findings


class _Graph:
    """All nodes that can be reached from the loss, with the edges towards it."""

    def __init__(self, root: Node):
        self.nodes: list[Node] = []
        self.users: dict[Node, list[tuple[Node, int]]] = defaultdict(list)  # node -> (user, which output it uses)
        seen, stack = {root}, [root]
        while stack:
            node = stack.pop()
            self.nodes.append(node)
            for source, output in node.next_functions:
                if source is None:
                    continue
                self.users[source].append((node, output))
                if source not in seen:
                    seen.add(source)
                    stack.append(source)

    def named(self, name: str) -> list[Node]:
        return [n for n in self.nodes if name in n.name()]

    def above(self, node: Node) -> Iterator[Node]:
        """Every node between this one and the loss."""
        seen, stack = set(), [node]
        while stack:
            for user, _ in self.users[stack.pop()]:
                if user not in seen:
                    seen.add(user)
                    stack.append(user)
                    yield user


def _wants(node: Node, index: int) -> bool:
    return node.next_functions[index][0] is not None


def _connections(graph: _Graph, parameters: tuple[Tensor, ...]) -> Iterator[Finding]:
    if graph.named("CompiledFunction"):
        yield Finding(
            "compiled", "part of the graph is compiled and cannot be looked into: lint the function uncompiled"
        )
    leaves = {id(n.variable) for n in graph.nodes if hasattr(n, "variable")}
    nodes = set(graph.nodes)
    for i, p in enumerate(parameters):
        if id(p) not in leaves and (p.grad_fn is None or p.grad_fn not in nodes):
            why = "" if p.requires_grad else ": it does not require one"
            yield Finding("no-gradient", f"parameter {i}, {list(p.shape)}, gets no gradient from the loss{why}")


def _antialiased(graph: _Graph) -> Iterator[Finding]:
    drawn = [n for n in graph.named("diffrast_resolve") if registration.wants(n, "pos")]
    smooth = graph.named("diffrast_antialias")
    if drawn and not any(registration.wants(n, "pos") for n in smooth):
        why = "the pos that antialias got is detached" if smooth else "nothing on the way to the loss is antialiased"
        yield Finding(
            "not-antialiased",
            f"positions want a gradient, but {why}: what is seen inside of a triangle moves them, its outline does "
            "not. Pass the finished picture through antialias(color, rast, pos, tri) with the pos that rasterize got",
        )


def _saved(node: Node, name: str) -> Any:
    """What a node of the graph saved, of an operator of ours or of torch's."""
    try:
        return getattr(registration.saved(node) if "diffrast_" in node.name() else node, name, None)
    except RuntimeError as error:
        raise ValueError("lint(): the graph has been freed; call lint before backward()") from error


def _masks(graph: _Graph) -> Iterator[Finding]:
    for node in graph.named("diffrast_antialias"):
        covered = _saved(node, "rast")[..., 3] > 0
        for user in graph.above(node):
            if any(_is_coverage(m, covered) for m in _mask_of(user)):
                yield Finding(
                    "masked-after-antialias",
                    f"{user.name()} cuts the antialiased picture by the mask of covered pixels (rast[..., 3] > 0): "
                    "that removes the outer half of every silhouette, and its gradient. Composite over the "
                    "background first, antialias last",
                )
                return


def _mask_of(node: Node) -> Iterator[Tensor]:
    """Tensors without a gradient by which a node selects or weights its input."""
    name = node.name()
    if name.startswith("MulBackward"):
        for saved, other in (("_saved_other", 1), ("_saved_self", 0)):
            value = _saved(node, saved)
            if isinstance(value, Tensor) and not _wants(node, other):
                yield value
    for saved in ("_saved_condition", "_saved_mask"):
        value = _saved(node, saved)
        if isinstance(value, Tensor):
            yield value
    if name.startswith("IndexBackward"):
        yield from _index_masks(node)


def _index_masks(node: Node) -> Iterator[Tensor]:
    """A mask used as an index, from the places that it was turned into."""
    indices = [i for i in _saved(node, "_saved_indices") if isinstance(i, Tensor)]
    if len(indices) == 1 and indices[0].dtype == torch.bool:
        yield indices[0]
    elif indices and all(i.ndim == 1 and i.dtype == torch.int64 for i in indices):
        sizes = list(node._saved_self_sym_sizes)[: len(indices)]
        mask = torch.zeros(sizes, dtype=torch.bool, device=indices[0].device)
        mask[tuple(indices)] = True
        yield mask


def _is_coverage(mask: Tensor, covered: Tensor) -> bool:
    """Is this the mask of covered pixels `[B, H, W]`, or its complement, turned over or not, with channels or without,
    for each image or for all?"""
    m, size = mask.detach(), tuple(covered.shape[1:])
    if m.ndim >= 3 and tuple(m.shape[-3:-1]) == size:
        if bool((m != m[..., :1]).any()):
            return False
        m = m[..., 0]
    if tuple(m.shape[-2:]) != size or m.numel() not in (covered[0].numel(), covered.numel()):
        return False
    m = m.reshape(-1, *size)
    if m.dtype != torch.bool and bool(((m != 0) & (m != 1)).any()):
        return False
    m = (m != 0).to(covered.device).expand_as(covered)
    if bool(m.all()) or not bool(m.any()):
        return False
    for same in (covered, covered.flip(1)):
        share = float((m == same).double().mean())
        if share > 0.999 or share < 0.001:
            return True
    return False


def _depth(graph: _Graph) -> Iterator[Finding]:
    for node in graph.named("diffrast_resolve"):
        columns: set[int] = set()
        for user, output in graph.users[node]:
            if output == 0:
                columns |= _columns(graph, user)
        if columns & {2, 3}:
            what = " and ".join(w for c, w in ((2, "z/w"), (3, "the id")) if c in columns)
            yield Finding(
                "reads-depth",
                f"the loss reads {what} of rast, which carries no gradient. For a depth that does, interpolate it: "
                "interpolate(pos[..., 2:], rast, tri) gives z and w of the surface",
            )
            return


def _columns(graph: _Graph, node: Node) -> set[int]:
    """Columns of rast that this user of it picks; users that are not understood pick none."""
    name = node.name()
    sizes = list(getattr(node, "_saved_self_sym_sizes", ()))
    dim = getattr(node, "_saved_dim", None)
    if name.startswith("UnbindBackward"):
        last = dim in (3, 2**64 - 1)
        return {output for _, output in graph.users[node]} if last else set()
    if dim is None or not sizes:
        return set()
    if dim >= 2**63:
        dim -= 2**64
    dim %= len(sizes)
    if dim == len(sizes) - 1 and sizes[-1] == 4:
        if name.startswith("SelectBackward"):
            index = node._saved_index
            return {(index - 2**64 if index >= 2**63 else index) % 4}
        if name.startswith("SliceBackward"):
            start, stop = node._saved_start, node._saved_end
            return set(range(4)[slice(start or 0, min(4 if stop is None else stop, 4), node._saved_step)])
        return set()
    if name.startswith(("SelectBackward", "SliceBackward")):  # an image or a region: look at its users
        return {c for user, _ in graph.users[node] for c in _columns(graph, user)}
    return set()
