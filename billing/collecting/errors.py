"""What can go wrong on the way to money. Every leaf has a stable code, and its docstring is the default message."""

from typing import ClassVar

from egress.control.errors import EgressError


class CollectingError(EgressError):
    """Stripe couldn't be used."""

    code: ClassVar[str] = "collecting_error"
    http_status: ClassVar[int] = 502


class NotSetUp(CollectingError):
    """Payments aren't set up in this installation: STRIPE_SECRET_KEY is empty."""

    code = "stripe_not_set_up"
    http_status = 409


class StripeUnavailable(CollectingError):
    """Stripe can't be reached, or is in trouble; nothing is lost, try again later."""

    code = "stripe_unavailable"
    http_status = 503

    def __init__(self, message: str = "", *, replayed: bool = False, after_seconds: float = 0) -> None:
        super().__init__(message)
        #: It is the stored answer to an earlier request with this key: the same key gets no other answer.
        self.replayed = replayed
        #: Not to be asked again before.
        self.after_seconds = after_seconds


class StripeBusy(StripeUnavailable):
    """Stripe was asked too often; it is asked again later."""

    code = "stripe_busy"


class OutcomeUnknown(StripeUnavailable):
    """The connection to Stripe broke: it may have done what was asked. It is looked up before anything is repeated."""

    code = "stripe_outcome_unknown"


class KeyRefused(StripeUnavailable):
    """Stripe refuses our key: STRIPE_SECRET_KEY is wrong, revoked, or lacks a permission."""

    code = "stripe_key_refused"


class Refused(CollectingError):
    """Stripe refused this for good."""

    code = "refused"
    http_status = 422

    def __init__(self, message: str = "", *, reason: str = "", request_id: str = "") -> None:
        super().__init__(message)
        #: Stripe's code, such as "tax_id_invalid".
        self.reason = reason
        self.request_id = request_id


class Gone(Refused):
    """Stripe doesn't know it (any more)."""

    code = "gone"


class SignatureRefused(CollectingError):
    """This isn't signed by Stripe, or it is too old."""

    code = "signature_refused"
    http_status = 400


class NotDecidable(CollectingError):
    """Somebody decided about this already."""

    code = "not_decidable"
    http_status = 409


class AccountOpen(CollectingError):
    """This account can't be closed yet."""

    code = "account_open"
    http_status = 409
