"""What the admin pages share: rows that are only looked at, confirmed actions, and the history of a row."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin, TabularInline

from .errors import EgressError
from .models import Event

M = TypeVar("M", bound=Model)

EVENTS_SHOWN = 50
#: Colours of statuses: unfold's names.
COLOURS = {
    "active": "success",
    "ready": "success",
    "healthy": "success",
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
}


class ReadOnly:
    """Nothing is added, changed or deleted by hand: these rows are the control plane's."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False


class ReadOnlyAdmin(ReadOnly, ModelAdmin, Generic[M]):
    """A page that shows every field and changes none; its actions need the permission to change."""

    list_per_page = 50
    show_full_result_count = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return all columns, and what the page adds to them."""
        del request, obj
        own = [field.name for field in self.model._meta.fields if field.name not in self.hidden]  # noqa: SLF001  # Django's documented model API
        return [*self.shown_first, *own]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Show them all, in that order."""
        return self.get_readonly_fields(request, obj)

    #: Columns that are nobody's business.
    hidden: ClassVar[tuple[str, ...]] = ("id", "token_hash", "enrolment_hash", "lease_owner")
    #: Computed lines on top.
    shown_first: ClassVar[tuple[str, ...]] = ()


class EventInline(ReadOnly, TabularInline):
    """The latest events of a row."""

    model = Event
    fields = readonly_fields = ("at", "subject", "old", "new", "reason", "actor")
    extra = 0
    max_num = 0
    per_page = EVENTS_SHOWN
    can_delete = False
    show_change_link = False
    verbose_name_plural = "Timeline"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        """Bring the people along."""
        queryset: QuerySet[Event] = super().get_queryset(request).select_related("actor")
        return queryset

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse."""
        del request, obj
        return False


def confirmed(
    page: Any, request: HttpRequest, rows: Iterable[Model], *, action: str, question: str
) -> HttpResponse | None:
    """Return a page that asks `question` before `action` runs on `rows`; None when it was answered with yes."""
    if request.POST.get("confirmed") == "yes":
        return None
    context = {
        **page.admin_site.each_context(request),
        "title": question,
        "rows": list(rows),
        "action": action,
        "checkbox": ACTION_CHECKBOX_NAME,
        "opts": page.model._meta,  # noqa: SLF001  # Django's documented model API
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
