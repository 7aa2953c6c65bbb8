"""The operators' pages for users, teams and tokens."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[Team]:
        """Count the members along."""
        queryset: QuerySet[Team] = super().get_queryset(request)
        return queryset.annotate(people_now=Count("memberships"))

    @display(description="Members", ordering="people_now")
    def people(self, team: Any) -> int:
        """Count the members."""
        return int(team.people_now)


@admin.register(ApiToken)
class ApiTokenAdmin(ModelAdmin):
    """Tokens: made for a team, shown once; looked at and revoked, never changed."""

    list_display = ("name", "hint", "team", "can_write", "can_operate", "created_by", "last_used_at", "revoked_at")
    list_filter = ("can_write", "can_operate", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("name", "hint", "team__name")
    list_select_related = ("team", "created_by")
    fields = (
        "name", "hint", "team", "can_write", "can_operate", "created_by", "created_at", "last_used_at", "revoked_at",
    )  # fmt: skip
    autocomplete_fields = ("team",)
    actions = ("revoke",)

    def get_readonly_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        """Fix all of a token that exists."""
        del request
        return self.fields if obj else ()

    def get_fields(self, request: HttpRequest, obj: ApiToken | None = None) -> tuple[str, ...]:
        """Ask for what a new one needs; only who may operate gateways can make a token that may."""
        if obj:
            return self.fields
        operates = ("can_operate",) if request.user.has_perm("control.change_gateway") else ()
        return ("team", "name", "can_write", *operates)

    def has_change_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiToken | None = None) -> bool:
        """Refuse: a revoked token stays for the history."""
        del request, obj
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Say whether this person may void tokens: it takes Django's permission to change them."""
        return bool(request.user.has_perm("accounts.change_apitoken"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Offer one way to save: what follows is the page with the token."""
        only = {"show_save_and_add_another": False, "show_save_and_continue": False}
        answer: HttpResponse = super().add_view(request, form_url, {**(extra_context or {}), **only})
        return answer

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Issue the token; only this request knows it."""
        del change
        person: Any = request.user
        row, obj.shown_once = ApiToken.issue(**form.cleaned_data, created_by=person)
        obj.pk, obj.hint = row.pk, row.hint

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Show the token on this page alone: a message would keep it in a cookie or a session."""
        del post_url_continue
        context = {**self.admin_site.each_context(request), "title": "New API token", "token": obj}
        # The admin forbids caching of all its pages.
        return TemplateResponse(request, "accounts/admin/token.html", context)

    @action(description="Revoke at once", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        """Revoke."""
        for token in queryset:
            token_revoke(token, now=timezone.now())
            self.message_user(request, f"{token} is revoked.")
