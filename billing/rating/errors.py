"""What can go wrong with prices and statements. Every leaf has a stable code."""

from egress.control.errors import EgressError


class RatingError(EgressError):
    """This can't be rated."""

    code = "rating_error"


class PriceInvalid(RatingError):
    """This price can't be: amounts have at most eight decimals and aren't negative, and a period goes forward."""

    code = "price_invalid"


class CurrencyUnknown(RatingError):
    """This currency isn't known; use a code of ISO 4217 whose unit has a hundred cents, such as USD."""

    code = "currency_unknown"


class PeriodOverlaps(RatingError):
    """There is a row for a part of this period already; end or withdraw that one first."""

    code = "period_overlaps"
    http_status = 409


class PeriodPast(RatingError):
    """What was in force is never changed afterwards; begin now or later."""

    code = "period_past"
    http_status = 409


class TermsInvalid(RatingError):
    """These terms can't be: a discount is 0 to 100 %, and a period goes forward."""

    code = "terms_invalid"


class CreditInvalid(RatingError):
    """This credit can't be: it has at least one cent, and hasn't expired when it is granted."""

    code = "credit_invalid"


class PriceMissing(RatingError):
    """There is no price for what was used; set one, and the month is closed at the next look."""

    code = "price_missing"
    http_status = 409


class MonthOpen(RatingError):
    """This month's statements can't be made yet; they are made 24 hours after its end."""

    code = "month_open"
    http_status = 409


class EarlierMonthOpen(RatingError):
    """An earlier month has no statements yet; close that one first."""

    code = "earlier_month_open"
    http_status = 409


class LedgerBusy(RatingError):
    """The ledger was added to each time that it was read; the statement is made at the next look."""

    code = "ledger_busy"
    http_status = 409
