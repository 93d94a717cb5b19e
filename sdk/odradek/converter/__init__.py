"""Values and exceptions to records and back: what user code passes around, as the log keeps it."""

from odradek.converter.codec import PayloadCodec
from odradek.converter.contexts import (
    ActivitySerializationContext,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from odradek.converter.data import DataConverter, default
from odradek.converter.errors import (
    CodecMismatch,
    CodecTooSlow,
    ConverterError,
    ConverterNotReady,
    EncodingUnknown,
    ExternalStorageInvalid,
    KeyUnknown,
    PayloadUnreadable,
    SearchAttributeInvalid,
    StorageDriverUnknown,
    StorageError,
    StorageUnavailable,
    StoredPayloadDamaged,
    StoredPayloadMissing,
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
from odradek.converter.protobuf import BinaryProtoPayloadConverter, JSONProtoPayloadConverter
from odradek.converter.search_attributes import (
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attribute,
    encode_search_attributes,
)
from odradek.converter.storage import (
    ExternalStorage,
    StorageDriver,
    StorageDriverActivityInfo,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    StorageDriverWorkflowInfo,
)
from odradek.schemas.records import Failure, Payload

__all__ = [
    "ActivitySerializationContext",
    "AdvancedJSONEncoder",
    "BinaryNullPayloadConverter",
    "BinaryPlainPayloadConverter",
    "BinaryProtoPayloadConverter",
    "CodecMismatch",
    "CodecTooSlow",
    "CompositePayloadConverter",
    "ConverterError",
    "ConverterNotReady",
    "DataConverter",
    "DefaultFailureConverter",
    "DefaultFailureConverterWithEncodedAttributes",
    "DefaultPayloadConverter",
    "EncodingPayloadConverter",
    "EncodingUnknown",
    "ExternalStorage",
    "ExternalStorageInvalid",
    "Failure",
    "FailureConverter",
    "JSONPlainPayloadConverter",
    "JSONProtoPayloadConverter",
    "JSONTypeConverter",
    "KeyUnknown",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "PayloadUnreadable",
    "SearchAttributeInvalid",
    "SerializationContext",
    "StorageDriver",
    "StorageDriverActivityInfo",
    "StorageDriverClaim",
    "StorageDriverRetrieveContext",
    "StorageDriverSelectContext",
    "StorageDriverStoreContext",
    "StorageDriverUnknown",
    "StorageDriverWorkflowInfo",
    "StorageError",
    "StorageUnavailable",
    "StoredPayloadDamaged",
    "StoredPayloadMissing",
    "ValueNotConvertible",
    "WithSerializationContext",
    "WorkflowSerializationContext",
    "decode_search_attributes",
    "decode_typed_search_attributes",
    "default",
    "encode_search_attribute",
    "encode_search_attributes",
    "value_to_type",
]
