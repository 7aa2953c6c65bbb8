"""What the admin pages share: rows to look at, confirmed actions, a filter, lists inside a row's page."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib import messages
from django.contrib.admin import SimpleListFilter
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth import get_permission_codename
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from egress.control.agents.credentials import VOID
from egress.control.attention import Concern, any_of
from egress.control.errors import EgressError
from egress.control.models import Event, Gateway

M = TypeVar("M", bound=Model)

EVENTS_SHOWN = 50
#: Colours of statuses: unfold's names.
COLOURS = {
    "active": "success",
    "ready": "success",
    "healthy": "success",
    "whole": "success",
    "degraded": "warning",
    "outage": "danger",
    "live": "success",
    "error": "danger",
    "unhealthy": "danger",
    "released": "primary",
    "deleted": "primary",
    "removed": "primary",
    "provisioning": "info",
    "distributing": "info",
    "creating": "info",
    "booting": "info",
    "draining": "warning",
    "releasing": "warning",
    "deleting": "warning",
    "maintenance": "warning",
    "checking": "info",
    "running": "info",
    "paused": "warning",
    "stopped": "danger",
    "done": "success",
    "aborted": "primary",
    "refused": "danger",
}


class ReadOnly:
    """Nothing is added, changed or deleted by hand: these rows are the control plane's.

    Who has Django's permission to change may look at them, and operate: run the actions.
    """

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_operate_permission(self: Any, request: Any, obj: Any = None) -> bool:
        """Say whether this person may run actions: it takes the permission to change."""
        del obj
        codename = get_permission_codename("change", self.opts)
        return bool(request.user.has_perm(f"{self.opts.app_label}.{codename}"))


class ReadOnlyAdmin(ReadOnly, ModelAdmin, Generic[M]):
    """A page that shows every field and changes none."""

    list_per_page = 50
    show_full_result_count = False
    #: What is brought along, by the lists and the start page.
    list_select_related: tuple[str, ...] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return all columns, and what the page adds to them."""
        del request, obj
        named = {*self.shown_first, *self.hidden}
        own = [field.name for field in self.opts.fields if field.name not in named]
        return [*self.shown_first, *own]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Show them all, in that order."""
        return self.get_readonly_fields(request, obj)

    #: Columns that are nobody's business.
    hidden: ClassVar[tuple[str, ...]] = ("id", *VOID, "token_at", "enrolment_hash", "lease_owner")
    #: What stands on top, columns and what the page computes.
    shown_first: ClassVar[tuple[str, ...]] = ()


class KeepsHistory:
    """A page of rows that can be deleted only while nothing happened to them yet; it says so then."""

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[Any, Any, set[str], list[str]]:
        """Name what keeps a row: Django would say that this person lacks permissions, which nobody has."""
        found, counts, missing, protected = super().get_deleted_objects(objs, request)
        kept = [f"its rows under {name}: they are history, and are kept" for name in sorted(missing)]
        return found, counts, set(), [*protected, *kept]


class AttentionFilter(SimpleListFilter):
    """What an operator should look at first."""

    title = "attention"
    parameter_name = "attention"
    concerns: Callable[[], tuple[Concern, ...]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Name the choices."""
        del request, model_admin
        return [*((concern.key, concern.label) for concern in self.concerns()), ("any", "Any of it")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Choose the rows."""
        del request
        concerns = self.concerns()
        choices = {concern.key: concern.where for concern in concerns} | {"any": any_of(concerns)}
        chosen = choices.get(self.value() or "")
        return queryset.filter(chosen) if chosen is not None else queryset


class RowsInline(ReadOnly, TabularInline):
    """Rows that belong to the page's row, to look at."""

    extra = 0
    max_num = 0
    can_delete = False
    show_change_link = False
    hide_title = True


class EventInline(RowsInline):
    """The latest events of a row."""

    model = Event
    fields = readonly_fields = ("at", "subject", "slot", "old", "new", "reason", "actor")
    per_page = EVENTS_SHOWN
    verbose_name_plural = "Timeline"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Bring people and gateways along."""
        queryset: QuerySet[Event] = super().get_queryset(request).select_related("actor", "gateway")
        return queryset

    @display(description="Gateway")
    def slot(self, event: Event) -> str:
        """Say which gateway of the pair it is about."""
        return link(event.gateway, slot_name(event.gateway)) if event.gateway else "-"


class GatewayInline(RowsInline):
    """The gateways that an assignment has and had."""

    model = Gateway
    fields = readonly_fields = (
        "name", "provisioning_status", "health", "public_address", "private_address", "reported_at", "detail",
    )  # fmt: skip

    @display(description="Gateway")
    def name(self, gateway: Gateway) -> str:
        """Lead to the gateway's page."""
        return link(gateway, slot_name(gateway))


def slot_name(gateway: Gateway) -> str:
    """Return "A" or "B"."""
    return "AB"[gateway.slot]


def link(row: Model, text: str) -> str:
    """Return `text` as a link to the row's page."""
    opts = row._meta  # noqa: SLF001  # Django's documented model API
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_change", args=[row.pk])
    return format_html('<a href="{}" class="text-link">{}</a>', url, text)


def confirmed(
    page: Any, request: HttpRequest, rows: Iterable[Model], *, question: str, action: str = "", back: str = ""
) -> HttpResponse | None:
    """Return a page that asks `question` about `rows`; None when it was answered with yes.

    `action` names a list's action, and no leads to the list; a row's own page has actions with addresses of their
    own, and no leads `back`.
    """
    if request.method == "POST" and request.POST.get("confirmed") == "yes":
        return None
    context = {
        **page.admin_site.each_context(request),
        "title": question,
        "rows": list(rows),
        "action": action,
        "checkbox": ACTION_CHECKBOX_NAME,
        "opts": page.opts,
        "back": back or request.path,
    }
    return TemplateResponse(request, "control/admin/confirm.html", context)


def each(page: Any, request: HttpRequest, rows: Iterable[M], service: Callable[[M], object], done: str) -> None:
    """Call `service` for each row, and say of each what came of it."""
    for row in rows:
        try:
            service(row)
        except EgressError as error:
            page.message_user(request, f"{row}: {error}", messages.ERROR)
        else:
            page.message_user(request, f"{row}: {done}", messages.SUCCESS)


def on_row(
    page: Any,
    request: HttpRequest,
    object_id: str,
    *,
    question: str,
    service: Callable[[Any], object],
    done: str,
    then: str = "",
) -> HttpResponse:
    """Ask, then call `service` for the row of a page, and show that page again: a link alone changes nothing.

    `then` names another page to show, for a row that may be gone.
    """
    row = page.get_object(request, object_id)
    if row is None:
        raise Http404
    own = reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_change", args=[row.pk])
    ask = confirmed(page, request, [row], question=question, back=own)
    if ask:
        return ask
    each(page, request, [row], service, done)
    return redirect(then or own)


def operator(request: HttpRequest) -> Any:
    """Return who is logged in: the admin's own login made sure that it is a User."""
    return request.user
