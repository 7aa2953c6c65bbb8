"""Know a program by its token."""

from datetime import datetime, timedelta

from django.db.models import Q

from .models import ApiToken, token_hash

#: A busy program's use is written down at most this often.
USE_NOTED_EVERY = timedelta(minutes=1)


def token_authenticate(token: str, *, now: datetime) -> ApiToken | None:
    """Return the row of a token that is valid, None for any other, and note its use."""
    row = ApiToken.objects.select_related("team").filter(hash=token_hash(token), revoked_at=None).first()
    if row is not None:
        stale = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_NOTED_EVERY)
        ApiToken.objects.filter(stale, pk=row.pk).update(last_used_at=now)
    return row


def token_revoke(token: ApiToken, *, now: datetime) -> None:
    """Make a token void at once and for good; one that is revoked already keeps its time."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now)
