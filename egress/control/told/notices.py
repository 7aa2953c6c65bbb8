"""What a team is told: a notification with its words, and a mail to each of its owners and members, in one write."""

from datetime import UTC, datetime

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string

from egress.control import clock
from egress.control.models import Assignment
from egress.control.models_told import Mail, Notification
from portal.accounts.models import Role, User

SUBJECTS = {
    Notification.Kind.OUTAGE: "{app}: both gateways are down",
    Notification.Kind.OUTAGE_OVER: "{app}: its dedicated addresses work again",
    Notification.Kind.DEGRADED: "{app}: one gateway is down, the app works",
    Notification.Kind.WHOLE: "{app}: both gateways work again",
    Notification.Kind.ADDRESS_LOST: "{app}: take {old} out of firewalls",
    Notification.Kind.ADDRESS_REPLACED: "{app}: new address {new}, update your firewalls",
}
TOLD_BY_MAIL = (Role.OWNER, Role.MEMBER)


def notify(assignment: Assignment, kind: Notification.Kind, key: str, **facts: object) -> Notification:
    """Tell the team of `assignment`'s app, in the transaction of what is told.

    `key` says what it is about: what was told under it already isn't again. `facts` fill the words: times as they are,
    written in UTC.
    """
    app = assignment.app
    shown = {name: _utc(fact) if isinstance(fact, datetime) else fact for name, fact in facts.items()}
    context = {
        "app": app.name,
        "on_outage": app.on_outage,
        "at": _utc(clock.now()),
        **shown,
    }
    subject = SUBJECTS[kind].format(**context)
    with transaction.atomic():
        notification, new = Notification.objects.get_or_create(
            assignment=assignment,
            key=key,
            defaults={
                "team_id": app.team_id,
                "app": app,
                "kind": kind,
                # Goes into a header: one line, whatever the app is called.
                "subject": " ".join(subject.split())[:200],
                "text": render_to_string(f"mail/{kind}.txt", context).strip() + "\n",
            },
        )
        if new:
            people = User.objects.filter(
                is_active=True, memberships__team=app.team_id, memberships__role__in=TOLD_BY_MAIL
            )
            Mail.objects.bulk_create(Mail(notification=notification, user=person) for person in people)
    return notification


def mail_body(notification: Notification) -> str:
    """Return a notification's words as a mail has them."""
    app = notification.app
    link = f"{settings.PORTAL_URL}/apps/{app.pk}/"
    return render_to_string("mail/message.txt", {"text": notification.text, "link": link, "app": app.name})


def notifications_of(user: User) -> QuerySet[Notification]:
    """Return what the teams of `user` were told, newest first."""
    return Notification.objects.filter(team__memberships__user=user).select_related("app", "team")


def notification_seen(*, notification: Notification, actor: User) -> None:
    """Note that somebody dealt with it; who was first stays."""
    Notification.objects.filter(pk=notification.pk, seen_at=None).update(seen_at=clock.now(), seen_by=actor)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
