"""The operators' pages for users, teams and tokens."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from .models import ApiToken, Membership, Team, User
from .tokens import token_revoke

admin.site.unregister(Group)


class MembershipInline(TabularInline):
    """Who belongs to which team."""

    model = Membership
    extra = 0
    autocomplete_fields = ("user", "team")


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]  # it takes no parameter at run time
    """Users, known by their e-mail address."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("email", "first_name", "last_name", "is_staff", "is_active", "last_login")
    list_filter = ("is_staff", "is_superuser", "is_active")
    search_fields = ("email", "first_name", "last_name")
    ordering = ("email",)
    readonly_fields = ("last_login", "date_joined")
    inlines = (MembershipInline,)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("email", "password")}),
        ("Person", {"fields": ("first_name", "last_name")}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser", "groups", "user_permissions")}),
        ("Dates", {"fields": ("last_login", "date_joined")}),
    )
    add_fieldsets: ClassVar[Any] = ((None, {"fields": ("email", "usable_password", "password1", "password2")}),)


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):
    """Groups of rights for operators."""


@admin.register(Team)
class TeamAdmin(ModelAdmin):
    """Teams with their members."""

    list_display = ("name", "slug", "people", "created_at")
    search_fields = ("name", "slug", "members__email")
    prepopulated_fields: ClassVar[dict[str, Any]] = {"slug": ("name",)}
    inlines = (MembershipInline,)

    @display(description="Members")
    def people(self, team: Team) -> int:
        """Count the members."""
        return team.memberships.count()


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Tokens: looked at and revoked; made by their owners, who alone see them."""

    list_display = ("name", "hint", "team", "can_write", "created_by", "last_used_at", "revoked_at")
    list_filter = ("can_write", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "hint", "team__name")
    list_select_related = ("team", "created_by")
    fields = readonly_fields = (
        "name", "hint", "team", "can_write", "created_by", "created_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    actions = ("revoke",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse."""
        del request
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Refuse: a revoked token stays for the history."""
        del request, obj
        return False

    @action(description="Revoke at once", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke."""
        for token in queryset:
            token_revoke(token, now=timezone.now())
            self.message_user(request, f"{token} is revoked.")
