"""The default converter reads and writes pydantic models; here it stands under the name that people look for."""

from odradek.converter import DataConverter, DefaultPayloadConverter

__all__ = ["PydanticPayloadConverter", "pydantic_data_converter"]

PydanticPayloadConverter = DefaultPayloadConverter
pydantic_data_converter = DataConverter.default
