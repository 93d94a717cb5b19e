"""Policies, search attributes and priorities."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from odradek.common import (
    MetricMeter,
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.converter import (
    SearchAttributeInvalid,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute,
    encode_search_attributes,
)
from odradek.schemas import records

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "policy",
    [
        RetryPolicy(),
        RetryPolicy(timedelta(milliseconds=5), 1.5, 10 * SECOND, 7, ["ValueError", "CardRefused"]),
        RetryPolicy(maximum_attempts=1),
    ],
)
def test_retry_policy_round_trip(policy: RetryPolicy) -> None:
    assert RetryPolicy.from_record(policy.to_record()) == policy


def test_default_retry_policy_is_the_default_record() -> None:
    assert RetryPolicy().to_record() == records.RetryPolicy()


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"initial_interval": -SECOND}, "initial_interval"),
        ({"backoff_coefficient": 0.5}, "backoff_coefficient"),
        ({"backoff_coefficient": float("nan")}, "backoff_coefficient"),
        ({"maximum_interval": SECOND / 2}, "maximum_interval"),
        ({"maximum_attempts": -1}, "maximum_attempts"),
        ({"non_retryable_error_types": "ValueError"}, "non_retryable_error_types"),
    ],
)
def test_invalid_retry_policy_names_the_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"ODR-048: {field} of a retry policy is"):
        RetryPolicy(**fields).to_record()


def test_intervals_do_not_matter_without_retries() -> None:
    RetryPolicy(initial_interval=-SECOND, maximum_attempts=1).validate()


def test_policies_are_what_stands_in_records() -> None:
    assert WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY.value == "allow-duplicate-failed-only"
    assert WorkflowIDConflictPolicy["UNSPECIFIED"] is WorkflowIDConflictPolicy.FAIL
    assert QueryRejectCondition.NOT_COMPLETED_CLEANLY.value == "not-completed-cleanly"
    start = records.StartWorkflow(records.Request("", 0, "", -1), "", "")
    assert start.id_reuse_policy == WorkflowIDReusePolicy.ALLOW_DUPLICATE
    assert start.id_conflict_policy == WorkflowIDConflictPolicy.FAIL


# -------------------------------------------------------------------------------------------------- search attributes

CUSTOMER = SearchAttributeKey.for_keyword("customer")
NOTE = SearchAttributeKey.for_text("note")
ITEMS = SearchAttributeKey.for_int("items")
TOTAL = SearchAttributeKey.for_float("total")
PAID = SearchAttributeKey.for_bool("paid")
DUE = SearchAttributeKey.for_datetime("due")
TAGS = SearchAttributeKey.for_keyword_list("tags")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

ALL = TypedSearchAttributes(
    [
        SearchAttributePair(CUSTOMER, "c-1"),
        SearchAttributePair(NOTE, "fragile goods"),
        SearchAttributePair(ITEMS, 3),
        SearchAttributePair(TOTAL, 9.5),
        SearchAttributePair(PAID, True),
        SearchAttributePair(DUE, NOON),
        SearchAttributePair(TAGS, ["a", "b"]),
    ]
)


def test_typed_search_attributes_round_trip() -> None:
    assert decode_typed_search_attributes(encode_search_attributes(ALL)) == ALL


def test_untyped_search_attributes_round_trip() -> None:
    untyped: dict[str, Any] = {"a": ["x"], "b": ["x", "y"], "c": [1], "d": [1.5], "e": [True], "f": [NOON], "g": []}
    encoded = encode_search_attributes(untyped)
    assert encoded["b"].metadata["type"] == b"KeywordList"
    assert decode_search_attributes(encoded) == untyped
    assert TAGS not in decode_typed_search_attributes(encoded)


def test_attribute_of_unknown_type_is_left_out_of_the_typed_ones() -> None:
    payloads = {"new": records.Payload("json/plain", b"1", {"type": b"Hologram"})}
    assert decode_typed_search_attributes(payloads) == TypedSearchAttributes([])
    assert decode_search_attributes(payloads) == {"new": [1]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (CUSTOMER, 1),
        (ITEMS, True),
        (ITEMS, 1.5),
        (TOTAL, "1"),
        (PAID, 1),
        (DUE, NOON.replace(tzinfo=None)),
        (TAGS, "a"),
    ],
)
def test_value_of_another_type_is_refused(key: SearchAttributeKey[Any], value: Any) -> None:
    with pytest.raises(SearchAttributeInvalid, match=f'ODR-044: search attribute "{key.name}" must be'):
        encode_search_attribute(key, value)


@pytest.mark.parametrize("values", ["x", [1, "x"], [1, 2], [object()]])
def test_untyped_values_must_be_lists_of_one_type(values: Any) -> None:
    with pytest.raises(SearchAttributeInvalid):
        encode_search_attributes({"a": values})


def test_typed_search_attributes_are_a_lookup() -> None:
    assert ALL[ITEMS] == 3
    assert ALL.get(SearchAttributeKey.for_text("items")) is None  # another type is another key
    assert ALL.get(SearchAttributeKey.for_int("none"), 7) == 7
    assert CUSTOMER in ALL
    assert len(ALL) == 7
    with pytest.raises(KeyError, match="none"):
        ALL[SearchAttributeKey.for_int("none")]


def test_updates_set_and_remove() -> None:
    changed = ALL.updated(ITEMS.value_set(4), PAID.value_unset(), SearchAttributePair(NOTE, "x"))
    assert (changed[ITEMS], changed.get(PAID), changed[NOTE]) == (4, None, "x")
    assert ALL[ITEMS] == 3


def test_a_name_stands_only_once() -> None:
    with pytest.raises(ValueError, match="same name: items"):
        TypedSearchAttributes([SearchAttributePair(ITEMS, 1), SearchAttributePair(ITEMS, 2)])


# -------------------------------------------------------------------------------------------------------------- others


def test_priority_is_one_or_more() -> None:
    assert Priority.default == Priority()
    with pytest.raises(ValueError, match="1 \\(most urgent\\) or more, not 0"):
        Priority(priority_key=0)
    with pytest.raises(TypeError):
        Priority(priority_key=True)


def test_silent_meter_takes_everything() -> None:
    meter = MetricMeter.noop.with_additional_attributes({"a": 1})
    counter = meter.create_counter("orders", unit="1").with_additional_attributes({"b": 2})
    counter.add(1)
    with pytest.raises(ValueError, match="orders"):
        counter.add(-1)
    meter.create_histogram_timedelta("wait").record(SECOND)
    meter.create_gauge_float("load").set(0.5)
