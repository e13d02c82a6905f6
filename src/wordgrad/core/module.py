"""Programs with parameters, in PyTorch's shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wordgrad import dispatch
from wordgrad.core.value import plain
from wordgrad.core.variable import Variable
from wordgrad.errors import UsageError
from wordgrad.types import JSON


class Module(ABC):
    """A program that holds Variables, and other Modules, as attributes, or in lists and dicts of them.

    `forward` may be `async def`; calling the Module then gives a coroutine.
    """

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - the subclass decides
        """Run the program. Calls inside return at once with pending Variables."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """`forward()`."""
        return self.forward(*args, **kwargs)

    def batch(self, inputs: Sequence[Any]) -> list[Any]:
        """Run the program once for each input, concurrently, each in its own worker thread; results in order."""
        return dispatch.map(self, inputs)

    async def abatch(self, inputs: Sequence[Any]) -> list[Any]:
        """`batch()` for async code."""
        return await dispatch.amap(self, inputs)

    def named_parameters(self) -> Iterator[tuple[str, Variable]]:
        """Each Variable that requires grad with its attribute path, in the order of definition, each once."""
        seen: set[int] = set()
        for path, variable in _variables(self, "", set()):
            if variable.requires_grad and id(variable) not in seen:
                seen.add(id(variable))
                yield path, variable

    def parameters(self) -> list[Variable]:
        """The Variables that require grad, in the order of definition."""
        return [variable for _, variable in self.named_parameters()]

    def state_dict(self) -> dict[str, JSON]:
        """The parameters' values by attribute path; plain JSON."""
        return {path: variable.value for path, variable in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, JSON]) -> None:
        """Assign the values of `state_dict()`; all, or none.

        Raises:
            UsageError: The names are not this Module's.
        """
        own = dict(self.named_parameters())
        unknown = [name for name in state if name not in own]
        missing = [name for name in own if name not in state]
        if unknown or missing:
            raise UsageError(
                f"the state does not fit {type(self).__name__}: unknown {unknown}, missing {missing}; "
                f"its parameters are {list(own)}"
            )
        # All are found sound before the first is assigned.
        values = {name: value if isinstance(value, str) else plain(value) for name, value in state.items()}
        for name, value in values.items():
            own[name].value = value


def _variables(holder: object, path: str, seen: set[int]) -> Iterator[tuple[str, Variable]]:
    if isinstance(holder, Variable):
        yield path, holder
        return
    if id(holder) in seen:  # a part that points back at the whole
        return
    seen.add(id(holder))
    items: Iterator[tuple[str, object]]
    if isinstance(holder, Module):
        items = iter(vars(holder).items())
    elif isinstance(holder, Mapping):
        items = ((str(key), value) for key, value in holder.items())
    elif isinstance(holder, list | tuple):
        items = ((str(place), value) for place, value in enumerate(holder))
    else:
        return
    for name, value in items:
        yield from _variables(value, f"{path}.{name}" if path else name, seen)
