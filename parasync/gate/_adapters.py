"""msgspec structs and pydantic models: recognised by type, checked and written by their own libraries.

Neither library is imported here: a type of theirs can only exist once its library was.
"""

from __future__ import annotations

import sys
import types
from typing import Any, Final, Union, get_args, get_origin

from parasync.gate._shape import Adapter

_ROOTS: Final = {"msgspec": "Struct", "pydantic": "BaseModel"}


def adapter_of(type_: Any) -> Adapter | None:
    """The adapter for a class of msgspec or pydantic, or for a union of such classes of one library; None for other types."""
    libraries = {_library_of(member) for member in members_of(type_)}
    if libraries == {"msgspec"}:
        return StructAdapter(type_)
    return ModelAdapter(type_) if libraries == {"pydantic"} else None


def grouped(members: tuple[Any, ...]) -> list[Any]:
    """The members of a union, those of one library as one: it tells its own classes apart."""
    kept = [member for member in members if _library_of(member) is None]
    for library in _ROOTS:
        own = tuple(member for member in members if _library_of(member) == library)
        if own:
            kept.append(Union[own])  # noqa: UP007
    return kept


def members_of(type_: Any) -> tuple[Any, ...]:
    """The members of a union; any other type is its own only member."""
    return get_args(type_) if get_origin(type_) in (Union, types.UnionType) else (type_,)


def _library_of(type_: Any) -> str | None:
    cls = get_origin(type_) or type_
    if isinstance(cls, type):
        for library, base in _ROOTS.items():
            root = getattr(sys.modules.get(library), base, None)
            if root is not None and issubclass(cls, root):
                return library
    return None


class StructAdapter:
    """A msgspec struct, or a tagged union of structs: msgspec's strict rules decide."""

    anything = False

    def __init__(self, type_: Any) -> None:
        import msgspec

        self._type = type_
        self._classes = tuple(get_origin(part) or part for part in members_of(type_))
        self._convert = msgspec.convert
        self._plain = msgspec.to_builtins

    def check(self, value: object) -> bool:
        """Whether what the struct holds converts back to an equal struct; attributes can have been set to anything."""
        return type(value) in self._classes and _same(self.parse(self.dump(value)), value)

    def parse(self, value: object) -> object:
        """The struct of plain data."""
        if type(value) in self._classes:
            raise TypeError("an instance is checked, not converted")
        return self._convert(value, self._type, strict=True)

    def dump(self, value: Any) -> object:
        """Plain data as msgspec defines it, with bytes kept."""
        return self._plain(value, builtin_types=(bytes,))


class ModelAdapter:
    """A pydantic model, or a union of models: pydantic's strict mode decides, and reads what its JSON mode writes."""

    def __init__(self, type_: Any) -> None:
        import pydantic
        import pydantic_core

        self._adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(type_)
        self._to_json = pydantic_core.to_json
        self._classes = members_of(type_)
        self.anything = any(issubclass(part, pydantic.RootModel) for part in self._classes)
        self._by_alias = any(
            field.validation_alias is not None and not part.model_config.get("populate_by_name", False)
            for part in self._classes
            for field in part.model_fields.values()
        )

    def check(self, value: object) -> bool:
        """Whether what the model writes passes its own validation and is an equal model again."""
        return type(value) in self._classes and _same(self.parse(self.dump(value)), value)

    def parse(self, value: object) -> object:
        """The model of plain data."""
        if type(value) in self._classes:
            raise TypeError("an instance is checked, not converted")
        return self._adapter.validate_json(self._to_json(value, inf_nan_mode="constants"), strict=True)

    def dump(self, value: Any) -> object:
        """Plain data as pydantic's JSON mode writes it."""
        return self._adapter.dump_python(value, mode="json", by_alias=self._by_alias, round_trip=True, warnings="error")


def _same(one: object, other: object) -> bool:
    # Something that holds NaN is not equal to itself, but looks the same.
    return bool(one == other) or repr(one) == repr(other)
