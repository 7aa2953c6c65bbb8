"""Why enabling is refused. Each message says what is the matter and what to do; the code is for programs."""

from egress.control.errors import AdmissionRefused


class PaymentMethodNeeded(AdmissionRefused):
    """This team has no payment method yet. An owner adds one under Billing, then enable again."""

    code = "payment_method_needed"


class InvoicesUnpaid(AdmissionRefused):
    """Dedicated egress was disabled because invoices are unpaid. Pay them under Billing, then enable again."""

    code = "invoices_unpaid"


class QuotaReached(AdmissionRefused):
    """This team has as many apps with dedicated egress as it may have at once."""

    code = "quota_reached"


class SpendLimitReached(AdmissionRefused):
    """This app would take the team's month beyond its spend limit."""

    code = "spend_limit_reached"
