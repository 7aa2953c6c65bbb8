"""Send what is due: at least once, and twice only where a worker died, or lost its answer, between sending and noting.

A mail is claimed by a compare-and-swap of its due time, sent, and noted as sent. Who dies in between leaves it due
again after `CLAIM`; every try bears the same Message-ID, by which mail programs fold what came twice. So a mail is sent
at most `MAX_ATTEMPTS` times, and once where nothing fails.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parseaddr
from time import monotonic
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.base import BaseEmailBackend
from django.db.models import QuerySet

from egress.control import clock, installation
from egress.control.models_told import Mail

from .notices import TOLD_BY_MAIL, mail_body

log = logging.getLogger(__name__)

#: How long a worker has a mail; longer than a task may run.
CLAIM = timedelta(minutes=2)
MAX_ATTEMPTS = 12
#: After a try that failed, doubled with each: half a minute, up to two hours.
PAUSE, LONGEST_PAUSE = timedelta(seconds=30), timedelta(hours=2)
BATCH = 50
#: A run ends after so long; the next goes on.
RUN_SECONDS = 15.0
MAX_ERROR_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Outbox:
    """A table of mails like `Mail`, each of one notification to one user; higher layers have their own."""

    #: With what `body` needs.
    rows: Callable[[], QuerySet[Any]]
    body: Callable[[Any], str]
    #: Tells this table's Message-IDs from those of others.
    mark: str = ""


NOTIFICATIONS = Outbox(lambda: Mail.objects.select_related("notification__app", "user"), mail_body)


def send_due(outbox: Outbox = NOTIFICATIONS) -> None:
    """Send the mails that are due, oldest first; nothing while the installation stands still."""
    if installation.why_still():
        return
    ends_at = monotonic() + RUN_SECONDS
    connection: BaseEmailBackend | None = None
    for mail in _due(outbox):
        if monotonic() > ends_at:
            break
        if not _claim(mail):
            continue
        connection = connection or get_connection()
        if not _send(mail, outbox, connection):
            # What it said last may be half a conversation.
            with suppress(OSError):
                connection.close()
            connection = None
    if connection is not None:
        with suppress(OSError):
            connection.close()


def _due(outbox: Outbox) -> Iterator[Any]:
    rows = outbox.rows().filter(due_at__lte=clock.unmoved())
    return iter(list(rows.order_by("due_at", "pk")[:BATCH]))


def _claim(mail: Any) -> bool:
    """Take `mail` before another worker does; give up what was tried often enough, or what nobody wants any more."""
    mine = type(mail).objects.filter(pk=mail.pk, due_at=mail.due_at)
    if mail.attempts >= MAX_ATTEMPTS:
        mine.update(due_at=None, error=mail.error or "its worker died, each time")
        log.error("mail %s (%s) is given up after %s tries", mail.pk, mail.notification.kind, mail.attempts)
        return False
    if not _still_concerns(mail):
        mine.update(due_at=None, error="no owner or member of the team any more")
        return False
    return bool(mine.update(due_at=clock.unmoved() + CLAIM, attempts=mail.attempts + 1))


def _still_concerns(mail: Any) -> bool:
    return bool(
        mail.user.is_active
        and mail.user.memberships.filter(team=mail.notification.team_id, role__in=TOLD_BY_MAIL).exists()
    )


def _send(mail: Any, outbox: Outbox, connection: BaseEmailBackend) -> bool:
    """Send and note it; returns whether the connection is still good."""
    row = type(mail).objects.filter(pk=mail.pk)
    try:
        # Else every message would open, and close, a connection of its own.
        connection.open()
        message_of(mail, connection, outbox).send()
    except ValueError as error:
        # No header can be made of it: no try will.
        row.update(due_at=None, error=str(error)[:MAX_ERROR_CHARACTERS])
        log.error("mail %s can't be written: %s", mail.pk, error)  # noqa: TRY400  # the message is all there is to know
        return True
    except OSError as error:
        # What smtplib raises is an OSError, too. The server's words are kept, the address isn't.
        due_at = clock.unmoved() + min(PAUSE * 2**mail.attempts, LONGEST_PAUSE)
        row.update(due_at=due_at, error=f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS])
        log.warning("mail %s isn't sent yet: %s", mail.pk, type(error).__name__)
        return False
    row.update(due_at=None, sent_at=clock.unmoved(), error="")
    return True


def message_of(mail: Any, connection: BaseEmailBackend | None = None, outbox: Outbox = NOTIFICATIONS) -> EmailMessage:
    """Return the message; all tries at one mail bear one Message-ID."""
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    created_at = mail.notification.created_at
    return EmailMessage(
        subject=mail.notification.subject,
        body=outbox.body(mail.notification),
        to=[mail.user.email],
        headers={
            "Message-ID": f"<{settings.INSTALLATION_ID}.{outbox.mark}{mail.pk}.{created_at.timestamp():.0f}@{domain}>",
            "Date": created_at.strftime("%a, %d %b %Y %H:%M:%S +0000"),
            "Auto-Submitted": "auto-generated",
        },
        connection=connection,
    )
