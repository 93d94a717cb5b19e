"""Search attributes: typed values by which runs are listed. Their form in records is the converter's business."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Generic, NamedTuple, TypeAlias, TypeVar, get_origin, overload

SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
SearchAttributeValues: TypeAlias = list[str] | list[int] | list[float] | list[bool] | list[datetime]
SearchAttributes: TypeAlias = Mapping[str, SearchAttributeValues]
"""The untyped form: every value is a list. Prefer ``TypedSearchAttributes``."""

V = TypeVar("V", bound=SearchAttributeValue)
D = TypeVar("D")


class SearchAttributeIndexedValueType(StrEnum):
    """How an attribute is indexed; the value is what stands in records."""

    TEXT = "Text"
    KEYWORD = "Keyword"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    DATETIME = "Datetime"
    KEYWORD_LIST = "KeywordList"


_T = SearchAttributeIndexedValueType


@dataclass(frozen=True)
class SearchAttributeKey(Generic[V]):
    """The name of a search attribute together with its type. Made by the ``for_…`` functions."""

    name: str
    indexed_value_type: SearchAttributeIndexedValueType
    value_type: type[V] = field(repr=False)

    @property
    def origin_value_type(self) -> type:
        """``value_type`` without its parameters: ``list`` for keyword lists."""
        return get_origin(self.value_type) or self.value_type

    def value_set(self, value: V) -> SearchAttributeUpdate[V]:
        """The update that sets this attribute."""
        return SearchAttributeUpdate(self, value)

    def value_unset(self) -> SearchAttributeUpdate[V]:
        """The update that removes this attribute."""
        return SearchAttributeUpdate(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """Words of it can be searched for."""
        return SearchAttributeKey(name, _T.TEXT, str)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """Compared as a whole."""
        return SearchAttributeKey(name, _T.KEYWORD, str)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        return SearchAttributeKey(name, _T.INT, int)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        return SearchAttributeKey(name, _T.DOUBLE, float)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        return SearchAttributeKey(name, _T.BOOL, bool)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """Values must have a time zone."""
        return SearchAttributeKey(name, _T.DATETIME, datetime)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Matches when one of its values does."""
        value_type: Any = list[str]
        return SearchAttributeKey(name, _T.KEYWORD_LIST, value_type)

    @staticmethod
    def for_type(name: str, value_type: SearchAttributeIndexedValueType) -> SearchAttributeKey[Any]:
        """The key of an attribute whose type is only known at run time."""
        python_type: Any = _PYTHON_TYPES[value_type]
        return SearchAttributeKey(name, value_type, python_type)


_PYTHON_TYPES: Mapping[SearchAttributeIndexedValueType, Any] = {
    _T.TEXT: str,
    _T.KEYWORD: str,
    _T.INT: int,
    _T.DOUBLE: float,
    _T.BOOL: bool,
    _T.DATETIME: datetime,
    _T.KEYWORD_LIST: list[str],
}


class SearchAttributePair(NamedTuple, Generic[V]):
    """A key and its value."""

    key: SearchAttributeKey[V]
    value: V


@dataclass(frozen=True)
class SearchAttributeUpdate(Generic[V]):
    """A change of one attribute; ``value`` None removes it."""

    key: SearchAttributeKey[V]
    value: V | None


@dataclass(frozen=True)
class TypedSearchAttributes:
    """Search attributes of a run by typed key. Immutable; raises ``ValueError`` for a name that comes twice."""

    search_attributes: Sequence[SearchAttributePair[Any]]

    empty: ClassVar[TypedSearchAttributes]

    def __post_init__(self) -> None:
        names = [pair.key.name for pair in self.search_attributes]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"ODR-047: search attributes with the same name: {', '.join(twice)}. Give each name once.")
        in_order = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        object.__setattr__(self, "search_attributes", in_order)  # equal in whichever order they were given

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        return any(pair.key == key for pair in self.search_attributes)

    def __getitem__(self, key: SearchAttributeKey[V]) -> V:
        if key not in self:
            raise KeyError(key.name)
        value: V = next(pair.value for pair in self.search_attributes if pair.key == key)
        return value

    @overload
    def get(self, key: SearchAttributeKey[V]) -> V | None: ...

    @overload
    def get(self, key: SearchAttributeKey[V], default: D) -> V | D: ...

    def get(self, key: SearchAttributeKey[V], default: Any = None) -> Any:
        """The value under this key, name and type both matching; else the default."""
        for pair in self.search_attributes:
            if pair.key == key:
                return pair.value
        return default

    def updated(self, *changes: SearchAttributePair[Any] | SearchAttributeUpdate[Any]) -> TypedSearchAttributes:
        """A copy in which these are set, or removed where an update says so."""
        merged = {pair.key.name: pair for pair in self.search_attributes}
        for change in changes:
            if change.value is None:
                merged.pop(change.key.name, None)
            else:
                merged[change.key.name] = SearchAttributePair(change.key, change.value)
        return TypedSearchAttributes(list(merged.values()))


TypedSearchAttributes.empty = TypedSearchAttributes(())
