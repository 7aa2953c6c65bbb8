"""What operators do to gateways on purpose: the actions of their pages, and the pages of rollouts."""

# unfold brings no types: its classes and decorators are Any.
# mypy: disable-error-code="misc,untyped-decorator"

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from unfold.decorators import action, display
from unfold.enums import ActionVariant

from egress.control import rollouts
from egress.control.attention import rollout_concerns
from egress.control.errors import EgressError
from egress.control.maintenance import gateway_drain, gateway_maintain, gateway_undrain
from egress.control.models import Gateway
from egress.control.models_rollouts import UNDER_WAY, ItemState, Maintenance, Rollout, RolloutStatus
from egress.control.repair.replacement import gateway_replace
from egress.control.rollout_progress import progress_of

from .base import COLOURS, AttentionFilter, ReadOnlyAdmin, confirmed, each, on_row, operator

#: A page that shows something under way is read anew so often.
REFRESH_SECONDS = 5


class UpkeepActions:
    """Drain, take back, reboot, rebuild: from the list of gateways and from a gateway's own page."""

    actions = ("drain", "undrain", "reboot", "rebuild")
    actions_detail = ("drain_this", "undrain_this", "reboot_this", "rebuild_this", "replace_this")

    @action(description="Drain (until it is taken back)", permissions=["operate"])
    def drain(self, request: HttpRequest, queryset: QuerySet[Gateway]) -> HttpResponse | None:
        """Keep them out of use, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="drain", question=_DRAIN)
        if ask is None:
            each(self, request, queryset, _drain(request), _DRAINED)
        return ask

    @action(description="Take back into use", permissions=["operate"])
    def undrain(self, request: HttpRequest, queryset: QuerySet[Gateway]) -> None:
        """Take them back."""
        each(self, request, queryset, _undrain(request), _BACK)

    @action(description="Reboot (drained first)", permissions=["operate"])
    def reboot(self, request: HttpRequest, queryset: QuerySet[Gateway]) -> HttpResponse | None:
        """Reboot, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="reboot", question=_REBOOT)
        if ask is None:
            each(self, request, queryset, _maintain(request, Maintenance.REBOOT), "reboots once its connections ended")
        return ask

    @action(description="Rebuild (keeps the address)", permissions=["operate"])
    def rebuild(self, request: HttpRequest, queryset: QuerySet[Gateway]) -> HttpResponse | None:
        """Rebuild, once it is confirmed."""
        ask = confirmed(self, request, queryset, action="rebuild", question=_REBUILD)
        if ask is None:
            each(self, request, queryset, _maintain(request, Maintenance.REBUILD), _REBUILT)
        return ask

    @action(description="Drain", permissions=["operate"], url_path="drain")
    def drain_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Keep it out of use, from its own page."""
        return on_row(self, request, object_id, question=_DRAIN, service=_drain(request), done=_DRAINED)

    @action(description="Take back", permissions=["operate"], url_path="undrain")
    def undrain_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take it back, from its own page."""
        question = "Take this gateway back into use? Maintenance that it drains for is called off."
        return on_row(self, request, object_id, question=question, service=_undrain(request), done=_BACK)

    @action(description="Reboot", permissions=["operate"], url_path="reboot")
    def reboot_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Reboot, from its own page."""
        service, done = _maintain(request, Maintenance.REBOOT), "reboots once its connections ended"
        return on_row(self, request, object_id, question=_REBOOT, service=service, done=done)

    @action(description="Rebuild", permissions=["operate"], url_path="rebuild", variant=ActionVariant.DANGER)
    def rebuild_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Rebuild, from its own page."""
        service = _maintain(request, Maintenance.REBUILD)
        return on_row(self, request, object_id, question=_REBUILD, service=service, done=_REBUILT)

    @action(description="Replace", permissions=["operate"], url_path="replace", variant=ActionVariant.DANGER)
    def replace_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Replace by a new server, from its own page."""
        done = "is replaced once a new server forwards"
        return on_row(self, request, object_id, question=_REPLACE, service=_replace(request), done=done)


_REPLACE = (
    "Replace by a new server? The customer gets another address in place of this one, and must change firewalls:"
    " a reboot or a rebuild keeps the address."
)
_DRAIN = (
    "Keep new connections off, until it is taken back? They take the other gateway; present ones go on until they end."
    " Should the other gateway fall ill, this one is taken back by itself."
)
_DRAINED = "takes no new connections"
_BACK = "is in use again"
_MEANWHILE = (
    "Its addresses stay; new connections take the other gateway meanwhile, present ones end or are cut at the cluster's"
    " deadline."
)
_REBOOT = f"Reboot? {_MEANWHILE}"
_REBUILT = "is rebuilt once its connections ended"
_REBUILD = f"Rebuild from a fresh image? {_MEANWHILE}"


def _drain(request: HttpRequest) -> Callable[[Gateway], object]:
    return lambda gateway: gateway_drain(gateway=gateway, actor=operator(request))


def _undrain(request: HttpRequest) -> Callable[[Gateway], object]:
    return lambda gateway: gateway_undrain(gateway=gateway, actor=operator(request))


def _replace(request: HttpRequest) -> Callable[[Gateway], object]:
    return lambda gateway: gateway_replace(gateway=gateway, actor=operator(request))


def _maintain(request: HttpRequest, kind: Maintenance) -> Callable[[Gateway], object]:
    return lambda gateway: gateway_maintain(gateway=gateway, kind=kind, actor=operator(request))


class RolloutAttention(AttentionFilter):
    """Rollouts to look at."""

    concerns = staticmethod(rollout_concerns)


@admin.register(Rollout)
class RolloutAdmin(ReadOnlyAdmin[Rollout]):
    """Rollouts: started here, watched, paused, resumed and aborted; never changed."""

    list_display = ("__str__", "cluster", "kind", "image", "shown_status", "done", "created_by", "created_at")
    list_filter = (RolloutAttention, "status", "kind", "cluster")
    search_fields = ("cluster__name", "image", "=id")
    list_select_related = ("cluster", "created_by")
    shown_first: ClassVar[tuple[str, ...]] = ("cluster", "kind", "image", "shown_status", "reason", "batch")
    hidden: ClassVar[tuple[str, ...]] = (*ReadOnlyAdmin.hidden, "status")
    add_fields = ("cluster", "kind", "image", "batch", "max_failures")
    actions_detail = ("pause_this", "resume_this", "abort_this")
    change_form_outer_before_template = "control/admin/rollout.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say whether this person may start one: it takes the permission to change."""
        return bool(self.has_operate_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Fix all of a rollout that has begun."""
        return super().get_readonly_fields(request, obj) if obj else []

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Ask only for what is to be chosen."""
        return super().get_fields(request, obj) if obj else list(self.add_fields)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rollout]:
        """Count along."""
        over = Q(items__state__in=(ItemState.DONE, ItemState.SKIPPED))
        queryset: QuerySet[Rollout] = super().get_queryset(request)
        return queryset.annotate(over=Count("items", filter=over), total=Count("items"))

    def save_model(self, request: HttpRequest, obj: Rollout, form: Any, change: bool) -> None:  # noqa: FBT001  # Django's signature
        """Start it."""
        del change
        started = rollouts.rollout_start(actor=operator(request), **form.cleaned_data)
        obj.pk, obj.status = started.pk, started.status

    def response_add(self, request: HttpRequest, obj: Rollout, post_url_continue: str | None = None) -> HttpResponse:
        """Show its page."""
        del post_url_continue
        self.message_user(request, f"Rollout {obj.pk} begins as soon as its image is checked.", messages.SUCCESS)
        return redirect("admin:control_rollout_change", obj.pk)

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Say why a start was refused; show how far a rollout got, anew every few seconds while it goes on."""
        rollout = Rollout.objects.filter(pk=object_id).first() if object_id and object_id.isdecimal() else None
        context = {
            **(extra_context or {}),
            "show_save_and_add_another": False,
            "show_save_and_continue": False,
            "progress": progress_of(rollout) if rollout else None,
        }
        try:
            answer: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        except EgressError as error:
            self.message_user(request, f"Nothing was started. {error}", messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
        if rollout and rollout.status in UNDER_WAY:
            answer.headers["Refresh"] = str(REFRESH_SECONDS)
        return answer

    @display(description="Status", ordering="status", label=COLOURS)
    def shown_status(self, rollout: Rollout) -> str:
        """Show it in its colour."""
        return rollout.status

    @display(description="Gateways done")
    def done(self, rollout: Any) -> str:
        """Say how far it got."""
        return f"{rollout.over} of {rollout.total}"

    @action(description="Pause", permissions=["operate"], url_path="pause")
    def pause_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Pause."""
        question = "Begin with no other gateway? What has begun is brought to its end."
        return _ask(self, request, object_id, question, rollouts.rollout_pause, RolloutStatus.PAUSED)

    @action(description="Resume", permissions=["operate"], url_path="resume")
    def resume_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Resume."""
        question = "Go on? Gateways that failed have another turn."
        return _ask(self, request, object_id, question, rollouts.rollout_resume, RolloutStatus.RUNNING)

    @action(description="Abort", permissions=["operate"], url_path="abort", variant=ActionVariant.DANGER)
    def abort_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Abort."""
        return _ask(self, request, object_id, _ABORT, rollouts.rollout_abort, RolloutStatus.ABORTED)


_ABORT = (
    "End this rollout? Gateways that only drain are taken back; those that reboot or are rebuilt come back by"
    " themselves. What is done stays done, also the cluster's image."
)


def _ask(
    page: Any, request: HttpRequest, object_id: str, question: str, service: Callable[..., object], done: str
) -> HttpResponse:
    def call(rollout: Rollout) -> object:
        return service(rollout=rollout, actor=operator(request))

    return on_row(page, request, object_id, question=question, service=call, done=f"is {done}")
