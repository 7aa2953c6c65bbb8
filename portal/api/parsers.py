"""What the API reads from a request's body."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import JSONParser

#: A wish takes some thirty bytes.
MAX_BYTES = 16_384


class BodyTooLarge(APIException):
    """The body is larger than anything that this API takes."""

    status_code = 413
    default_code = "too_large"


class SmallJsonParser(JSONParser):
    """Read JSON of at most `MAX_BYTES`."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the parsed body. Raises ParseError, BodyTooLarge."""
        content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise BodyTooLarge
        try:
            return super().parse(BytesIO(content), media_type, parser_context)
        except RecursionError as error:
            # Thousands of brackets in one another: no JSON that anybody means.
            raise ParseError from error
