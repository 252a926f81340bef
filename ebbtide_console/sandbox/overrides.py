"""Methods of moto, replaced for as long as a sandbox runs and put back when it stops."""

import copy
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

_INHERITED = object()


class Overrides:
    """What was replaced; `signatures` says what each original looked like, so that an upgrade of moto is noticed."""

    def __init__(self) -> None:
        self._undo: list[tuple[type, str, Any]] = []
        self._region: str | None = None
        self.signatures: dict[str, list[str]] = {}

    def within(self, region: str) -> Self:
        """The same, for this region alone: what belongs to another goes on to what was there before."""
        regional = copy.copy(self)
        regional._region = region
        return regional

    def replace(self, owner: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make `owner.name(...)` call `method(instance, ...)`; the original, to be called with an instance."""
        original: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(original)
        def call(instance: Any, *args: Any, **kwargs: Any) -> Any:
            is_ours = self._region is None or self._region == _region_of(instance, args)
            return (method if is_ours else original)(instance, *args, **kwargs)

        self._remember(owner, name, inspect.signature(original))
        setattr(owner, name, call)
        return original

    def replace_maker(self, owner: type, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make the class method `owner.name(...)` call `method(...)`; the original, which takes the same."""
        original: Callable[..., Any] = getattr(owner, name)
        self._remember(owner, name, inspect.signature(original))
        setattr(owner, name, staticmethod(method))
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


def _region_of(instance: Any, args: Sequence[Any]) -> str:
    """A backend knows its region; what belongs to EC2 knows its backend, or is handed it while it is being made."""
    for place in (getattr(instance, "ec2_backend", None), instance, *args[:1]):
        if region := getattr(place, "region_name", None):
            return str(region)
    raise TypeError(f"{type(instance).__name__} belongs to no region")
