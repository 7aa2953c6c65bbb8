"""The operators' pages of servers in quarantine, and of what concerns the whole installation."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable
from datetime import datetime
from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from egress.control import installation, naming
from egress.control.attention import installation_concerns, stray_concerns
from egress.control.errors import NotAPair
from egress.control.inventory import adoption, breaker, quarantine
from egress.control.models import App
from egress.control.models_installation import Installation, StrayServer

from .base import AttentionFilter, ReadOnlyAdmin, confirmed, each, on_row, operator


class StrayAttention(AttentionFilter):
    """Strays to look at: all of them."""

    concerns = staticmethod(stray_concerns)


@admin.register(StrayServer)
class StrayServerAdmin(ReadOnlyAdmin[StrayServer]):
    """Servers that no row knows: given back to their app, or deleted after the quarantine."""

    list_display = ("server_id", "name", "public_address", "made_for", "found_at", "kept_until", "order")
    list_filter = (StrayAttention,)
    search_fields = ("=server_id", "name", "=public_address")
    list_select_related = ("delete_ordered_by",)
    shown_first: ClassVar[tuple[str, ...]] = ("server_id", "name", "made_for", "found_at", "kept_until", "order")
    actions = ("delete_later", "keep")
    actions_detail = ("give_back_this", "delete_later_this", "keep_this")

    @display(description="Made for")
    def made_for(self, stray: StrayServer) -> str:
        """Name the app and the slot that its tags tell."""
        origin = naming.origin_of(stray.tags)
        if origin is None:
            return "its tags don't say"
        app = App.objects.select_related("team").filter(pk=origin.app_id).first()
        return f"{f'{app} of {app.team}' if app else 'an app that is unknown too'}, gateway {'AB'[origin.slot]}"

    @display(description="Kept at least until")
    def kept_until(self, stray: StrayServer) -> datetime:
        """Say when it may be deleted at the earliest."""
        return quarantine.ends_at(stray)

    @display(description="Order")
    def order(self, stray: StrayServer) -> str:
        """Say who ordered its deletion."""
        return f"delete, by {stray.delete_ordered_by}" if stray.delete_ordered_at else "-"

    @action(description="Delete after the quarantine (addresses are lost)", permissions=["operate"])
    def delete_later(self, request: HttpRequest, queryset: QuerySet[StrayServer]) -> HttpResponse | None:
        """Order the deletion, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="delete_later", question=_DELETE)
        if ask is None:
            each(self, request, queryset, _delete(request), _ORDERED)
        return ask

    @action(description="Keep (withdraw the order to delete)", permissions=["operate"])
    def keep(self, request: HttpRequest, queryset: QuerySet[StrayServer]) -> None:
        """Withdraw the order."""
        each(self, request, queryset, _keep(request), "is kept")

    @action(description="Give the pair back to its app", permissions=["operate"], url_path="give-back")
    def give_back_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Adopt the pair that this server belongs to."""
        done = "and the other server of its pair are its app's again"
        back = "admin:control_strayserver_changelist"
        return on_row(self, request, object_id, question=_GIVE_BACK, service=_give_back(request), done=done, then=back)

    @action(description="Delete later", permissions=["operate"], url_path="order", variant=ActionVariant.DANGER)
    def delete_later_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Order the deletion, from its own page."""
        return on_row(self, request, object_id, question=_DELETE, service=_delete(request), done=_ORDERED)

    @action(description="Keep", permissions=["operate"], url_path="keep")
    def keep_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Withdraw the order, from its own page."""
        question = "Keep this server, and withdraw the order to delete it?"
        return on_row(self, request, object_id, question=question, service=_keep(request), done="is kept")


_DELETE = (
    "Delete at the end of the quarantine? A stranger may get the address next. Until then the order can be withdrawn."
)
_ORDERED = "is deleted when its quarantine is over"
_GIVE_BACK = "Give this server and its pair's other one back to the app that they were made for, with their addresses?"


def _delete(request: HttpRequest) -> Callable[[StrayServer], object]:
    return lambda stray: quarantine.deletion_order(stray=stray, actor=operator(request))


def _keep(request: HttpRequest) -> Callable[[StrayServer], object]:
    return lambda stray: quarantine.deletion_withdraw(stray=stray, actor=operator(request))


def _give_back(request: HttpRequest) -> Callable[[StrayServer], object]:
    def give_back(stray: StrayServer) -> object:
        origin = naming.origin_of(stray.tags)
        app = App.objects.filter(pk=origin.app_id).first() if origin else None
        if app is None:
            raise NotAPair
        return adoption.pair_adopt(app=app, actor=operator(request))

    return give_back


class InstallationAttention(AttentionFilter):
    """What stops everything."""

    concerns = staticmethod(installation_concerns)


@admin.register(Installation)
class InstallationAdmin(ReadOnlyAdmin[Installation]):
    """The installation: the hold after a restore, and the breaker of deletions."""

    list_display = ("name", "held_since", "held_reason", "tripped_at")
    list_filter = (InstallationAttention,)
    actions_detail = ("reset_breaker", "hold", "resume")

    @action(description="Reset the breaker", permissions=["operate"], url_path="reset-breaker")
    def reset_breaker(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let tidying delete again."""
        question = "Let tidying up delete servers again? Look first, at the latest events, at what it deleted."
        done = "may tidy up again"
        return on_row(self, request, object_id, question=question, service=_reset(request), done=done)

    @action(description="Hold (a backup was restored)", permissions=["operate"], url_path="hold")
    def hold(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Stand still."""
        question = "Change and delete nothing, and tell agents nothing, until somebody resumes?"
        return on_row(self, request, object_id, question=question, service=_hold(request), done="stands still")

    @action(description="Resume", permissions=["operate"], url_path="resume", variant=ActionVariant.DANGER)
    def resume(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go on after a restore."""
        return on_row(self, request, object_id, question=_RESUME, service=_resume(request), done="goes on")


_RESUME = (
    "Go on with what this database knows? Nodes then drop routes that it doesn't know: first give pairs in quarantine"
    " back, disable apps whose servers are all gone if that was done since the backup, and wait for nodes to report."
)


def _reset(request: HttpRequest) -> Callable[[Installation], object]:
    return lambda _row: breaker.reset(actor=operator(request))


def _hold(request: HttpRequest) -> Callable[[Installation], object]:
    return lambda _row: installation.hold(reason="an operator said that a backup was restored", actor=operator(request))


def _resume(request: HttpRequest) -> Callable[[Installation], object]:
    return lambda _row: installation.resume(actor=operator(request))
