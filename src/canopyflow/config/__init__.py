"""The campaign file as pydantic models: the one source of defaults, JSON schema, comments and docs."""
