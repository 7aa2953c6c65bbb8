"""Content security: strict for our pages, wider for the admin, whose templates need it."""

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponse

ADMIN_PREFIX = "/admin/"


class PolicyMiddleware(CSPMiddleware):  # type: ignore[misc]  # django-csp's types are skipped
    """Give the admin the policy `ADMIN_CONTENT_SECURITY_POLICY` and everything else the ordinary one."""

    def get_policy_parts(
        self,
        request: HttpRequest,
        response: HttpResponse,
        report_only: bool = False,  # noqa: FBT001, FBT002  # the base class's signature
    ) -> PolicyParts:
        """Return the policy for a response."""
        parts = super().get_policy_parts(request, response, report_only)
        if request.path_info.startswith(ADMIN_PREFIX) and not report_only:
            parts.config = settings.ADMIN_CONTENT_SECURITY_POLICY
        return parts
