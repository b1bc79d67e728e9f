"""The API for programs, at /api/v1: see `operations` for the one table that routes and document come from."""

from typing import Final

PREFIX: Final = "/api/v1"
