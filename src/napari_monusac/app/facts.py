"""A field of a model that announces itself: setting it is its event, and there is no other way to tell of it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Fact(Generic[T]):
    """A typed field whose setting emits a signal of its owner with the new value.

    Parameters
    ----------
    event : str
        The owner's `psygnal.Signal` that tells of it.
    value : object
        What holds until something is set.
    same : callable
        Whether a value says nothing new after another one: then nothing is told. The same object, unless said otherwise.

    Notes
    -----
    Why not `psygnal.SignalGroupDescriptor`: it keeps the signals of every living instance in a table of its class. A lambda
    of a panel that is connected there is never let go of, nor is the panel, its viewer and this model. A plain `Signal`
    lies on the instance and dies with it.
    """

    def __init__(self, event: str, value: T, same: Callable[[T, T], bool] = operator.is_) -> None:
        self.event, self._first, self._same = event, value, same

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, owner: None, kind: type) -> Fact[T]: ...
    @overload
    def __get__(self, owner: object, kind: type) -> T: ...
    def __get__(self, owner: object | None, kind: type) -> Fact[T] | T:
        if owner is None:
            return self
        value: T = owner.__dict__.get(self._name, self._first)
        return value

    def __set__(self, owner: Any, value: T) -> None:
        before = self.__get__(owner, type(owner))
        owner.__dict__[self._name] = value
        if not self._same(before, value):
            getattr(owner, self.event).emit(value)


def never(_: object, __: object) -> bool:
    """Say that a value is always news, even the one that holds already (a crop that is shown anew has other layers)."""
    return False
