"""Values to payloads and back."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Required, TypedDict, TypeVar

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from odradek.common import RawValue
from odradek.contrib.pydantic import pydantic_data_converter
from odradek.converter import (
    AdvancedJSONEncoder,
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    EncodingUnknown,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    Payload,
    PayloadConverter,
    PayloadUnreadable,
    ValueNotConvertible,
    value_to_type,
)

CONVERTER = PayloadConverter.default
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Item:
    sku: str
    price: Decimal
    colour: Colour | None = None
    blob: bytes = b""


@dataclasses.dataclass
class Order:
    id: uuid.UUID
    items: list[Item]
    by_day: dict[date, int]


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


class Model(pydantic.BaseModel):
    at: datetime
    item: Item | None = None


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str
    blob: bytes


class Evening(TypedDict, total=False):
    film: Required[Movie]
    guests: dict[str, Movie | None]


OrderId = NewType("OrderId", str)
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ITEM = Item("s", Decimal("1.10"), Colour.RED, b"\xff\x00")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (None, type(None)),
        (None, Item),
        (b"\xff", bytes),
        (bytearray(b"\xff"), bytearray),
        ('ä\n"\u2028', str),
        (3, int),
        (True, bool),
        (2**70, int),
        (1.5, float),
        (math.inf, float),
        ([1, "a", None], list),
        ({"a": [1]}, dict),
        (NOON, datetime),
        (timedelta(days=1, milliseconds=5), timedelta),
        (uuid.UUID(int=7), uuid.UUID),
        (Decimal("0.10"), Decimal),
        (Colour.RED, Colour),
        (Level.HIGH, Level),
        ((1, "a"), tuple[int, str]),
        ({1, 2}, set[int]),
        ([b"\xff"], list[bytes]),
        ({1: "a"}, dict[int, str]),
        (ITEM, Item),
        (Order(uuid.UUID(int=1), [ITEM], {date(2024, 1, 1): 2}), Order),
        (Box(ITEM), Box[Item]),
        (Model(at=NOON, item=Item("s", Decimal(1))), Model),
        ([Model(at=NOON)], list[Model]),
        (Point(1, 2), Point),
        ({"title": "M", "blob": b"\xff"}, Movie),
        ([{"title": "M", "blob": b"\xff"}], list[Movie]),
        ({"film": {"title": "M", "blob": b""}}, Evening),
        ("a", Literal["a", "b"]),
        (ITEM, Item | str),
        ("x", Item | str),
        (7, int | str),
        ("o-1", OrderId),
        (5, Annotated[int, pydantic.Field(gt=1), ["no hash"]]),
        ([1.5], Sequence[float]),
        ({"a": ITEM}, Mapping[str, Item]),
        ({"any": 1}, Any),
    ],
    ids=lambda value: str(value)[:40],
)
def test_round_trip(value: Any, hint: Any) -> None:
    [payload] = CONVERTER.to_payloads([value])
    [read] = CONVERTER.from_payloads([payload], [hint])
    assert read == value
    assert value is None or type(read) is type(value)
    assert CONVERTER.from_payload(CONVERTER.to_payload(value), hint) == value


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=10,
)


@settings(deadline=None, max_examples=100)
@given(plain)
def test_plain_values_come_back_without_a_hint(value: Any) -> None:
    assert CONVERTER.from_payload(CONVERTER.to_payload(value)) == value


@settings(deadline=None, max_examples=100)
@given(plain)
def test_other_languages_can_read_it(value: Any) -> None:
    payload = CONVERTER.to_payload(value)
    assert payload.encoding == ("binary/null" if value is None else "json/plain")
    assert value is None or json.loads(payload.data) == value


def test_missing_hints_mean_plain_values() -> None:
    payloads = CONVERTER.to_payloads([1, ITEM])
    one, plain_item = CONVERTER.from_payloads(payloads, [int])
    assert one == 1
    assert plain_item == {"sku": "s", "price": "1.10", "colour": "red", "blob": "_wA="}


def test_raw_value_passes_both_ways() -> None:
    payload = Payload("made/up", b"?")
    assert CONVERTER.to_payloads([RawValue(payload)]) == [payload]
    assert CONVERTER.from_payloads([payload], [RawValue]) == [RawValue(payload)]


# -------------------------------------------------------------------------------------------------------------- errors


def test_value_that_cannot_be_converted_is_named_with_its_position() -> None:
    with pytest.raises(ValueNotConvertible, match=r"ODR-040: the value at position 1, of type .*\.Closed, cannot") as e:
        CONVERTER.to_payloads(["fine", Closed()])
    assert e.value.index == 1
    assert isinstance(e.value, TypeError)


class Closed:
    __slots__ = ()


@pytest.mark.parametrize("value", [{"deep": [Closed()]}, "\ud800", ["\ud800"], lambda: None, object()])
def test_unconvertible_values_raise_nothing_else(value: Any) -> None:
    with pytest.raises(ValueNotConvertible):
        CONVERTER.to_payload(value)


def test_circular_value_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ValueNotConvertible):
        CONVERTER.to_payload(value)


def test_payload_of_another_type_is_named_with_its_position() -> None:
    payloads = [*CONVERTER.to_payloads(["fine"]), Payload("json/plain", b'"x"')]
    with pytest.raises(PayloadUnreadable, match="ODR-042: the json/plain payload at position 1 cannot be read as int"):
        CONVERTER.from_payloads(payloads, [str, int])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=20), st.sampled_from(["json/plain", "binary/null", "binary/plain", "?"]))
def test_foreign_bytes_raise_only_converter_errors(data: bytes, encoding: str) -> None:
    try:
        CONVERTER.from_payload(Payload(encoding, data), Item)
    except (EncodingUnknown, PayloadUnreadable) as error:
        assert error.code  # noqa: PT017 - other outcomes are fine too


def test_unknown_encoding_names_the_known_ones() -> None:
    with pytest.raises(EncodingUnknown, match='"binary/encrypted", and the converter reads only binary/null'):
        CONVERTER.from_payload(Payload("binary/encrypted", b""))


# ------------------------------------------------------------------------------------------------------- customization


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and other.cents == self.cents

    def __hash__(self) -> int:
        return hash(self.cents)


class MoneyEncoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        return {"cents": o.cents} if isinstance(o, Money) else super().default(o)


class MoneyReader(JSONTypeConverter):
    def to_typed_value(self, hint: Any, value: Any) -> Any:
        return Money(value["cents"]) if hint is Money else JSONTypeConverter.Unhandled


class MoneyConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        json_converter = JSONPlainPayloadConverter(encoder=MoneyEncoder, custom_type_converters=[MoneyReader()])
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters[:-1], json_converter)


@dataclasses.dataclass
class Bill:
    total: Money
    parts: list[Money]
    at: datetime


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (Money(3), Money),
        ([Money(3)], list[Money]),
        ({"a": Money(3)}, dict[str, Money]),
        ({1: Money(3)}, Mapping[int, Money]),
        ((Money(3), 1), tuple[Money, int]),
        ((Money(3), Money(4)), tuple[Money, ...]),
        (Money(3), Money | None),
        (None, Money | None),
        (5, Money | int),
        (Money(3), Annotated[Money, "gross"]),
        (Bill(Money(3), [Money(1), Money(2)], NOON), Bill),
        (Model(at=NOON), Model),
        ([ITEM], list[Item]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_custom_type_converters_are_asked_at_every_level(value: Any, hint: Any) -> None:
    converter = DataConverter(payload_converter_class=MoneyConverter).payload_converter
    assert converter.from_payload(converter.to_payload(value), hint) == value


def test_union_without_a_fitting_member() -> None:
    with pytest.raises(TypeError, match="a str is none of"):
        value_to_type(Money | int, "x", [MoneyReader()])


def test_value_to_type_reads_plain_json_values() -> None:
    assert value_to_type(list[Item], [{"sku": "s", "price": "1.10"}]) == [Item("s", Decimal("1.10"))]
    assert value_to_type(datetime, "2024-05-01T12:00:00Z") == NOON


class Shout(json.JSONDecoder):
    def decode(self, s: str, *arguments: Any) -> Any:
        return str(super().decode(s, *arguments)).upper()


def test_decoder_is_used() -> None:
    converter = CompositePayloadConverter(JSONPlainPayloadConverter(decoder=Shout))
    assert converter.from_payload(converter.to_payload("hey")) == "HEY"


def test_custom_encoding_comes_before_the_default_ones() -> None:
    class Cents(EncodingPayloadConverter):
        encoding = "text/cents"

        def to_payload(self, value: Any) -> Payload | None:
            return Payload(self.encoding, str(value.cents).encode()) if isinstance(value, Money) else None

        def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
            return Money(int(payload.data))

    converter = CompositePayloadConverter(Cents(), *DefaultPayloadConverter.default_encoding_payload_converters)
    payloads = converter.to_payloads([Money(3), "x"])
    assert [payload.encoding for payload in payloads] == ["text/cents", "json/plain"]
    assert converter.from_payloads(payloads) == [Money(3), "x"]


def test_pydantic_converter_is_the_default_one() -> None:
    assert pydantic_data_converter is DataConverter.default
