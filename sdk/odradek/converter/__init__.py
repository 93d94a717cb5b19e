"""Values and exceptions to records and back: what user code passes around, as the log keeps it."""

from odradek.converter.codec import PayloadCodec
from odradek.converter.data import DataConverter, default
from odradek.converter.errors import (
    CodecMismatch,
    CodecTooSlow,
    ConverterError,
    EncodingUnknown,
    KeyUnknown,
    PayloadUnreadable,
    SearchAttributeInvalid,
    ValueNotConvertible,
)
from odradek.converter.failures import (
    DefaultFailureConverter,
    DefaultFailureConverterWithEncodedAttributes,
    FailureConverter,
)
from odradek.converter.json import AdvancedJSONEncoder, JSONPlainPayloadConverter, JSONTypeConverter, value_to_type
from odradek.converter.payloads import (
    BinaryNullPayloadConverter,
    BinaryPlainPayloadConverter,
    CompositePayloadConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    PayloadConverter,
)
from odradek.converter.search_attributes import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute,
    encode_search_attributes,
)
from odradek.schemas.records import Failure, Payload

__all__ = [
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "CodecMismatch",
    "CodecTooSlow",
    "CompositePayloadConverter",
    "ConverterError",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "EncodingUnknown",
    "Failure",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONTypeConverter",
    "KeyUnknown",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadUnreadable",
    "SearchAttributeInvalid",
    "ValueNotConvertible",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute",
    "encode_search_attributes",
    "value_to_type",
]
