"""The pages' forms."""

from math import ceil
from typing import Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from egress.control.models import App
from egress.control.models_told import OnOutage
from portal.accounts.backends import wait_seconds


class LogInForm(AuthenticationForm):
    """Log in by e-mail address, which is stored in lower case."""

    error_messages = {  # noqa: RUF012  # as Django's own class has it
        "invalid_login": "That e-mail address and password don't match. Check both and try again.",
        "inactive": "This account has been closed. Ask an owner of your team.",
    }

    def get_invalid_login_error(self) -> ValidationError:
        """Say so where it was tried too often to be looked at."""
        wait = wait_seconds(self.request, str(self.cleaned_data["username"]))
        if not wait:
            return super().get_invalid_login_error()
        text = f"Too many attempts that failed. Wait {ceil(wait / 60)} minutes and try again."
        return ValidationError(text, code="too_many_attempts")

    def clean_username(self) -> str:
        """Compare addresses as they are stored."""
        return str(self.cleaned_data["username"]).lower()


class DisableForm(forms.Form):
    """The app's name, typed: what is given up doesn't come back."""

    name = forms.CharField(max_length=63, strip=True)

    def __init__(self, *args: Any, app: App, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.app = app

    def clean_name(self) -> str:
        """Insist on the very name."""
        name = str(self.cleaned_data["name"])
        if name != self.app.name:
            raise forms.ValidationError(f"That isn't the app's name. Type {self.app.name}, exactly so.")
        return name


class OutageForm(forms.Form):
    """Where new connections go while both gateways are down."""

    on_outage = forms.ChoiceField(
        choices=OnOutage.choices,
        error_messages={"required": "Choose one of the two.", "invalid_choice": "Choose one of the two."},
    )
