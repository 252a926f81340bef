"""Methods of moto, replaced for as long as a sandbox runs and put back when it stops."""

import inspect
from collections.abc import Callable
from typing import Any

_INHERITED = object()


class Overrides:
    """What was replaced; `signatures` says what each original looked like, so that an upgrade of moto is noticed."""

    def __init__(self) -> None:
        self._undo: list[tuple[type, str, Any]] = []
        self.signatures: dict[str, list[str]] = {}

    def replace(self, owner: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make `owner.name(...)` call `method(instance, ...)`; the original, to be called with an instance."""
        original: Callable[..., Any] = getattr(owner, name)

        def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
            return method(instance, *args, **kwargs)

        self._remember(owner, name, inspect.signature(original))
        setattr(owner, name, call)
        return original

    def add(self, owner: type, name: str, method: Callable[..., Any]) -> None:
        """Make `owner.name(...)` call `method(instance, ...)` where moto has nothing of that name."""
        if hasattr(owner, name):
            raise TypeError(f"{owner.__name__}.{name} is moto's own by now: replace it, or do without")
        self._undo.append((owner, name, _INHERITED))
        setattr(owner, name, lambda instance, *args, **kwargs: method(instance, *args, **kwargs))

    def replace_property(self, owner: type, name: str, getter: Callable[[Any], Any]) -> None:
        """Make reading `owner.name` call `getter(instance)`."""
        self._remember(owner, name, inspect.signature(inspect.getattr_static(owner, name).fget))
        setattr(owner, name, property(getter))

    def undo(self) -> None:
        """Put every original back."""
        while self._undo:
            owner, name, own = self._undo.pop()
            if own is _INHERITED:
                delattr(owner, name)
            else:
                setattr(owner, name, own)

    def _remember(self, owner: type, name: str, signature: inspect.Signature) -> None:
        self._undo.append((owner, name, owner.__dict__.get(name, _INHERITED)))
        self.signatures[f"{owner.__name__}.{name}"] = list(signature.parameters)
