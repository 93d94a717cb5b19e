"""The contract: Avro schemas, typed records, codec, topic names. Imports nothing else of odradek."""
