"""What usage costs, from when until when, and what a team gets off."""

from decimal import Decimal

from django.db import models
from django.db.models import Q

from egress.control import clock
from egress.control.models import Cluster
from portal.accounts.models import Team, User

from .append_only import AppendOnly


class Price(models.Model):
    """The price of a gateway slot's hour in force from `starts_at` up to `ends_at`; of two, the cluster's own counts.

    Amounts are in units of `currency`, not in cents.
    """

    #: None: all clusters that have no price of their own.
    cluster = models.ForeignKey(Cluster, models.PROTECT, null=True, blank=True, related_name="prices")
    currency = models.CharField(max_length=3, default="USD")
    per_slot_hour = models.DecimalField(max_digits=14, decimal_places=8)
    #: What the traffic of a slot costs beyond what is included in its month, per GiB.
    per_gib = models.DecimalField(max_digits=14, decimal_places=8, default=0)
    included_gib = models.PositiveIntegerField(default=0)
    #: So many hours of a slot are charged in a month at most.
    cap_hours = models.PositiveIntegerField(default=672)
    starts_at = models.DateTimeField()
    #: None while nothing follows.
    ends_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)

    class Meta:
        ordering = ("starts_at",)
        constraints = (
            models.CheckConstraint(condition=Q(per_slot_hour__gte=0, per_gib__gte=0), name="price_not_negative"),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=models.F("starts_at")), name="price_period_forward"
            ),
            # What overlaps beyond these is refused by the service `price_set`, under a lock.
            models.UniqueConstraint(
                fields=("cluster", "currency"), condition=Q(ends_at=None), name="one_open_price_of_a_cluster"
            ),
            models.UniqueConstraint(
                fields=("currency",), condition=Q(ends_at=None, cluster=None), name="one_open_price_of_all"
            ),
        )

    def __str__(self) -> str:
        return f"{self.per_slot_hour} {self.currency} from {self.starts_at:%Y-%m-%d %H:%M}Z"


class Terms(models.Model):
    """What was agreed with a team, from `starts_at` up to `ends_at`."""

    team = models.ForeignKey(Team, models.PROTECT, related_name="billing_terms")
    discount_percent = models.DecimalField(max_digits=5, decimal_places=2, default=0)
    #: Slot hours a month that cost nothing, the first ones.
    free_slot_hours = models.PositiveIntegerField(default=0)
    reason = models.CharField(max_length=200)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=clock.now, editable=False)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)

    class Meta:
        ordering = ("starts_at",)
        verbose_name_plural = "terms"
        constraints = (
            models.CheckConstraint(
                condition=Q(discount_percent__gte=0, discount_percent__lte=100), name="terms_percent"
            ),
            models.CheckConstraint(
                condition=Q(ends_at__isnull=True) | Q(ends_at__gt=models.F("starts_at")), name="terms_period_forward"
            ),
            models.UniqueConstraint(fields=("team",), condition=Q(ends_at=None), name="one_open_terms_of_a_team"),
        )

    def __str__(self) -> str:
        return f"{self.team}: {self.discount_percent} % off from {self.starts_at:%Y-%m-%d}"


class Credit(AppendOnly):
    """Money that a team has in hand: used up by its statements, oldest first; never changed once granted.

    It pays for the months that begin before `expires_at`.
    """

    team = models.ForeignKey(Team, models.PROTECT, related_name="billing_credits")
    currency = models.CharField(max_length=3, default="USD")
    cents = models.PositiveBigIntegerField()
    reason = models.CharField(max_length=200)
    granted_at = models.DateTimeField(default=clock.now, editable=False)
    granted_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+", editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("granted_at", "id")

    def __str__(self) -> str:
        return f"{self.team}: {Decimal(self.cents).scaleb(-2)} {self.currency}"
