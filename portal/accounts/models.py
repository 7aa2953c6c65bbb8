"""Who may do what: users, the teams that own apps, and tokens for programs."""

import hashlib
import secrets
import uuid
from typing import Any, ClassVar, Self

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models
from django.utils import timezone


class UserManager(BaseUserManager["User"]):
    """Make users known by their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create an ordinary user."""
        user = self.model(email=self.normalize_email(email).lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user who may do everything in the admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """A person, known by e-mail address."""

    username = None  # type: ignore[assignment]  # the e-mail address takes its place
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects = UserManager()  # type: ignore[misc,assignment]  # AbstractUser's manager wants a username

    def __str__(self) -> str:
        return self.email


class Team(models.Model):
    """Who owns apps and pays for them."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(unique=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    members: "models.ManyToManyField[User, Membership]" = models.ManyToManyField(
        User, through="Membership", related_name="teams"
    )

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do: a viewer reads, a member also switches egress, an owner also manages the team."""

    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"


class Membership(models.Model):
    """A user's place in a team."""

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    team = models.ForeignKey(Team, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role.choices, default=Role.MEMBER)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("user", "team"), name="one_membership_per_team"),)

    def __str__(self) -> str:
        return f"{self.user} in {self.team} ({self.role})"


def token_hash(token: str) -> str:
    """Return what is stored of a token: a plain SHA-256 is enough for 256 random bits."""
    return hashlib.sha256(token.encode()).hexdigest()


class ApiToken(models.Model):
    """A program's key to one team's apps. The token itself is shown once and never stored."""

    PREFIX: ClassVar[str] = "sgt_"

    team = models.ForeignKey(Team, models.CASCADE, related_name="api_tokens")
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    name = models.CharField(max_length=100)
    hash = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=12, editable=False)
    can_write = models.BooleanField(default=True)
    can_operate = models.BooleanField(
        default=False,
        help_text="Also opens the operators' part of the API: the gateways of all teams. Never for a customer.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @classmethod
    def issue(
        cls, *, team: Team, name: str, created_by: User | None, can_write: bool = True, can_operate: bool = False
    ) -> tuple[Self, str]:
        """Create a token; returns the row and the token, which can't be had again."""
        token = cls.PREFIX + secrets.token_urlsafe(32)
        row = cls.objects.create(
            team=team,
            created_by=created_by,
            name=name,
            can_write=can_write,
            can_operate=can_operate,
            hash=token_hash(token),
            hint=token[:8],
        )
        return row, token
