"""Forms on pages of their own: what is typed goes to one service, and what that refuses is said beside it."""

# unfold brings no types: its classes are Any.
# mypy: disable-error-code="misc"

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin import site
from django.contrib.admin.widgets import AutocompleteSelect
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)

from billing.rating.money import CURRENCIES
from egress.control.errors import EgressError

REASON_CHARACTERS = 200
#: Where errors of a service belong; others stand above the form.
FIELD_OF = {
    "currency_unknown": "currency",
    "period_past": "starts_at",
    "period_overlaps": "starts_at",
}


class MomentWidget(UnfoldAdminTextInputWidget):
    """A date and a time to the second, as the browser asks for them, or typed."""

    def __init__(self) -> None:
        super().__init__(attrs={"type": "datetime-local", "step": "1"})

    def format_value(self, value: Any) -> str:
        """Write it as the browser wants it."""
        return f"{value:%Y-%m-%dT%H:%M:%S}" if isinstance(value, datetime) else value or ""


def moment(label: str, help_text: str, *, required: bool = False) -> forms.DateTimeField:
    """Return a field for a moment in UTC."""
    return forms.DateTimeField(label=f"{label} (UTC)", help_text=help_text, required=required, widget=MomentWidget)


def amount(label: str, help_text: str, *, decimals: int, **more: Any) -> forms.DecimalField:
    """Return a field for an amount in units of a currency, which isn't negative."""
    return forms.DecimalField(
        label=label,
        help_text=help_text,
        decimal_places=decimals,
        **{"min_value": 0, "widget": UnfoldAdminDecimalFieldWidget, **more},
    )


def whole(label: str, help_text: str, initial: int, most: int) -> forms.IntegerField:
    """Return a field for a number of things."""
    widget = UnfoldAdminIntegerFieldWidget
    return forms.IntegerField(
        label=label, help_text=help_text, initial=initial, min_value=0, max_value=most, widget=widget
    )


def currency(initial: str) -> forms.ChoiceField:
    """Return a field to choose a currency that can be rated."""
    choices = [(code, code) for code in sorted(CURRENCIES)]
    return forms.ChoiceField(label="Currency", choices=choices, initial=initial, widget=UnfoldAdminSelectWidget)


def row_of(model: type[Model], name: str, **more: Any) -> forms.Field:
    """Return a field to look up the row that column `name` of `model` leads to."""
    column: Any = model._meta.get_field(name)  # noqa: SLF001  # Django's documented model API
    widget = AutocompleteSelect(column, site, attrs={"style": "width: 100%"})
    rows = column.remote_field.model._default_manager.all()  # noqa: SLF001  # as above
    return forms.ModelChoiceField(rows, widget=widget, **more)


class ReasonForm(forms.Form):
    """Why something is done: kept with the change."""

    reason = forms.CharField(
        label="Why?",
        help_text="Kept with the change; finance will ask.",
        max_length=REASON_CHARACTERS,
        error_messages={"required": "Say why: it is kept with the change."},
        widget=UnfoldAdminTextInputWidget,
    )


def ask(
    page: Any,
    request: HttpRequest,
    form: forms.Form,
    *,
    title: str,
    about: str = "",
    button: str,
    service: Callable[..., object],
    done: str,
    back: str,
    then: str = "",
) -> HttpResponse:
    """Show `form`, or hand what was typed to `service`; what that refuses stands on the form.

    `form` is made of the request's POST where there is one. Afterwards comes the page `then`, without one `back`.
    """
    if request.method == "POST" and form.is_valid():
        try:
            service(**form.cleaned_data)
        except EgressError as error:
            name = FIELD_OF.get(error.code)
            form.add_error(name if name in form.fields else None, str(error))
        else:
            page.message_user(request, done, messages.SUCCESS)
            return redirect(then or back)
    context = {
        **page.admin_site.each_context(request),
        "title": title,
        "about": about,
        "form": form,
        "button": button,
        "back": back,
        "opts": page.opts,
    }
    return TemplateResponse(request, "billing/admin/ask.html", context)


def row_at(page: Any, request: HttpRequest, object_id: str) -> tuple[Any, str]:
    """Return a page's row and its address. Raises Http404."""
    row = page.get_object(request, object_id)
    if row is None:
        raise Http404
    return row, reverse(f"admin:{page.opts.app_label}_{page.opts.model_name}_change", args=[row.pk])
