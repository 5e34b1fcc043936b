"""Dates in ISO 8601, as flags and records hold them."""

from datetime import UTC, datetime


def moment(date: str) -> datetime | None:
    """Return an ISO 8601 date, with or without time, as a datetime, in UTC if it has no zone; None for other texts."""
    try:
        parsed = datetime.fromisoformat(date)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
