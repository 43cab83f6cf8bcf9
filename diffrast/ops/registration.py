"""What torch is told of an operator: its outputs without their content, and its gradients, all by name."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch

Gradients = dict[str, Any]

torch_library: Any = torch.library  # declares few of its types
library = torch_library.Library("diffrast", "FRAGMENT")


@cache
def kinds_of(operator: Any) -> dict[str, str]:
    """The names and types of an operator's inputs; of what `custom_op` or `operator` returns."""
    arguments = getattr(operator, "_opoverload", operator)._schema.arguments
    return {argument.name: str(argument.type) for argument in arguments}


def names_of(operator: Any) -> list[str]:
    """The names of an operator's inputs; or of the one of this name in `torch.ops.diffrast`."""
    return list(kinds_of(getattr(torch.ops.diffrast, operator).default if isinstance(operator, str) else operator))


def operator(name: str, schema: str) -> Callable[[Callable[[Any], Any]], Any]:
    """Registers a function as the operator `diffrast::<name>`; it is given the inputs by their names in one object.

    It does without what `torch.library.custom_op` looks at in every call, so its outputs must not be its inputs."""

    def define(function: Callable[[Any], Any]) -> Any:
        names: list[str] = []

        def by_name(*inputs: Any) -> Any:
            return function(SimpleNamespace(**dict(zip(names, inputs, strict=True))))

        library.define(f"{name}{schema}", tags=(torch.Tag.pt2_compliant_tag,))
        library.impl(name, by_name, "CompositeExplicitAutograd")
        names += names_of(name)
        return getattr(torch.ops.diffrast, name).default

    return define


def fake(operator: Any, outputs: Callable[[Any], Any]) -> None:
    """Says what the outputs of an operator look like, for tracing: a function of its inputs, by their names in one
    object, to empty tensors."""
    names = names_of(operator)

    def by_name(*inputs: Any) -> Any:
        return outputs(SimpleNamespace(**dict(zip(names, inputs, strict=True))))

    torch_library.register_fake(operator, by_name)


def gradients(
    operator: Any,
    backward: Callable[..., Gradients],
    saves: Sequence[str],
    outputs: Sequence[str],
    fixed: Sequence[str] = (),
) -> None:
    """Gives an operator its autograd formula.

    Args:
        operator: a `torch.library.custom_op`.
        backward: a function of what was saved, by name in one object; of which inputs want a gradient, likewise; and of
            the gradient of each output, None where there is none; at least one has one. It returns the gradients of
            inputs by name.
        saves: the inputs and outputs that backward is given.
        outputs: the names of the outputs.
        fixed: those that have no derivative.
    """
    names = names_of(operator)
    kinds = kinds_of(operator)
    tensors = tuple(name for name in saves if kinds.get(name, "Tensor") in ("Tensor", "Optional[Tensor]"))
    lists = tuple(name for name in saves if kinds.get(name) == "List[Tensor]")  # one at most
    others = tuple(name for name in saves if name not in (*tensors, *lists))
    place = {name: i for i, name in enumerate((*names, *outputs))}

    def setup_context(ctx: Any, inputs: Sequence[Any], output: Any) -> None:
        given = (*inputs, *output) if len(outputs) > 1 else (*inputs, output)
        ctx.saved_names = tensors, lists
        ctx.saved_others = {name: given[place[name]] for name in others}
        ctx.save_for_backward(*[given[place[name]] for name in tensors], *(given[place[lists[0]]] if lists else ()))
        if fixed:
            ctx.mark_non_differentiable(*[given[place[name]] for name in fixed])
        ctx.set_materialize_grads(False)

    def formula(ctx: Any, *grads: torch.Tensor | None) -> tuple[Any, ...]:
        for grad in grads:
            if grad is not None:
                needs = SimpleNamespace(**dict(zip(names, ctx.needs_input_grad, strict=True)))
                return tuple(map(backward(saved(ctx), needs, *grads).get, names))
        return tuple(None if isinstance(need, bool) else [None] * len(need) for need in ctx.needs_input_grad)

    torch_library.register_autograd(operator, formula, setup_context=setup_context)


def saved(node: Any) -> Any:
    """What an operator saved, by name in one object, for its node in the graph. RuntimeError once that is freed."""
    values, (tensors, lists) = node.saved_tensors, node.saved_names
    if lists:
        values = (*values[: len(tensors)], list(values[len(tensors) :]))
    return SimpleNamespace(**dict(zip(tensors + lists, values, strict=True)), **node.saved_others)


def wants(node: Any, name: str) -> bool:
    """Whether an input wants a gradient; `node` is an operator without lists of tensors in the graph."""
    operator = re.search(r"diffrast_(\w+)_default", node.name())
    assert operator is not None
    names = names_of(operator[1])
    return node.next_functions[names.index(name)][0] is not None
