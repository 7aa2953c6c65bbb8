"""Tell a team something about money: a notice with its words, and a mail to each of its owners, in one write.

Without owners its members are told. Control's machinery sends the mails: at least once, under one Message-ID.
"""

from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.template.loader import render_to_string

from billing.models import Notice, NoticeMail
from egress.control.told import mail
from egress.control.told.notices import TOLD_BY_MAIL
from portal.accounts.models import Membership, Role, Team, User


def notify(team: Team, *, kind: str, key: str, subject: str, path: str = "/billing/", **facts: Any) -> Notice:
    """Tell `team`, in the transaction of what is told; what was told under `key` already isn't told again.

    The words are those of the template mail/billing/KIND.txt, filled with `facts`; the mail leads to the page `path`.
    """
    context = {**facts, "team": team.name}
    with transaction.atomic():
        notice, new = Notice.objects.get_or_create(
            team=team,
            key=key,
            defaults={
                "kind": kind,
                # Goes into a header: one line, whatever the team is called.
                "subject": " ".join(subject.split())[:200],
                "text": render_to_string(f"mail/billing/{kind}.txt", context).strip() + "\n",
                "path": path,
            },
        )
        if new:
            NoticeMail.objects.bulk_create(NoticeMail(notification=notice, user=person) for person in _people(team))
    return notice


def send_due() -> None:
    """Send the mails that are due."""
    mail.send_due(mail.Outbox(_mails, body, mark="billing-"))


def body(notice: Notice) -> str:
    """Return a notice's words as a mail has them."""
    link = f"{settings.PORTAL_URL}{notice.path}"
    return render_to_string("mail/billing/message.txt", {"text": notice.text, "link": link, "team": notice.team.name})


def notices_of(user: User) -> QuerySet[Notice]:
    """Return what the teams were told whose mails `user` may get, newest first: not of those where they only look."""
    return Notice.objects.filter(
        Exists(Membership.objects.filter(team=OuterRef("team"), user=user, role__in=TOLD_BY_MAIL))
    ).select_related("team")


def _mails() -> QuerySet[NoticeMail]:
    return NoticeMail.objects.select_related("notification__team", "user")


def _people(team: Team) -> list[User]:
    active = User.objects.filter(is_active=True, memberships__team=team)
    return list(active.filter(memberships__role=Role.OWNER)) or list(active.filter(memberships__role=Role.MEMBER))
