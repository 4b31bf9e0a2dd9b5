"""YAML as PyYAML reads it safely, and a little stricter: nothing twice in one mapping, nothing empty, nothing that explodes."""

from __future__ import annotations

from typing import Any, Final

import yaml

from parasync.codec import DEPTH_MAX, ELEMENTS_MAX

_MERGE: Final = "tag:yaml.org,2002:merge"


NOTHING: Final = object()
"""What a text without a document holds."""


# The parser in C is thirty times as fast; whether there is one, depends on how PyYAML was built.
_Base: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # either of two classes with the same methods
    """Refuses a key that stands twice, and says of every value that cannot be made where it stands."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, "a key stands twice in one mapping", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except (ValueError, OverflowError, TypeError, AttributeError):
            raise yaml.constructor.ConstructorError(None, None, "a value that cannot be read", node.start_mark) from None


def load_yaml(text: str) -> object:
    """The one value of a text, or `NOTHING`, or the error: no YAML, not one document, or aliases that make too much of it."""
    try:
        # The parser in C descends without looking at the end of its stack, so depth is measured before anything descends.
        _check_depth(text)
        return _loaded(text)
    except yaml.YAMLError as error:
        return error


def dump_yaml(value: object) -> str:
    """The text of a value.

    Raises:
        ValueError: YAML cannot hold it.
    """
    try:
        return str(yaml.safe_dump(value, allow_unicode=True, sort_keys=False))
    except yaml.YAMLError as error:
        raise ValueError from error


def _loaded(text: str) -> object:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return NOTHING
        _check_size(node)
        value: object = loader.construct_document(node)
    finally:
        loader.dispose()
    return value


def yaml_problem(error: BaseException) -> tuple[int | None, int, int, str]:
    """Line, column, offset and reason of an error; where the line is None, the offset tells."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    parts = [getattr(error, name, None) for name in ("context", "problem", "reason")]
    said = ", ".join([str(part) for part in parts if part]) or "not YAML"
    if mark is None:
        return None, 0, int(getattr(error, "position", 0)), said
    return mark.line + 1, mark.column + 1, 0, said


def _check_depth(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEPTH_MAX:
            raise yaml.composer.ComposerError(None, None, f"nested more than {DEPTH_MAX} deep", event.start_mark)


def _check_size(root: Any) -> None:
    """Refuse aliases that refer to themselves, or that make more elements than any body may hold."""
    sizes: dict[int, int] = {}
    under_way: set[int] = set()
    pending: list[tuple[Any, bool]] = [(root, False)]
    while pending:
        node, done = pending.pop()
        if isinstance(node, yaml.ScalarNode) or (id(node) in sizes and not done):
            continue
        parts = _parts(node)
        if not done:
            if id(node) in under_way:
                raise yaml.composer.ComposerError(None, None, "an alias that refers to itself", node.start_mark)
            under_way.add(id(node))
            pending.append((node, True))
            pending.extend((part, False) for part in parts)
            continue
        under_way.discard(id(node))
        sizes[id(node)] = sum((sizes.get(id(part), 1) for part in parts), 1)
        if sizes[id(node)] > ELEMENTS_MAX:
            raise yaml.composer.ComposerError(None, None, f"more than {ELEMENTS_MAX:,} elements", node.start_mark)


def _parts(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value)
