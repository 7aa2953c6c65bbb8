"""The secret that a gateway's user data carries: derived, so that a crash between making and using it loses nothing."""

import hashlib
import hmac
from pathlib import Path
from uuid import UUID

from django.conf import settings

from egress.control.models import Gateway
from egress.gateway.userdata import UserData, gateway_user_data


def enrolment_secret(gateway_id: UUID) -> str:
    """Return the gateway's enrolment secret; only its hash is stored."""
    content = b"sluicegate gateway enrolment " + gateway_id.bytes
    return "sge_" + hmac.new(settings.SECRET_KEY.encode(), content, hashlib.sha256).hexdigest()


def user_data_of(gateway: Gateway) -> str:
    """Return the user data that turns a stock VM into this gateway."""
    ca_file = settings.AGENT_API_CA_FILE
    return gateway_user_data(
        UserData(
            gateway_id=str(gateway.pk),
            enrolment_secret=enrolment_secret(gateway.pk),
            control_plane_url=settings.AGENT_API_URL,
            ca_pem=Path(ca_file).read_text() if ca_file else "",
            vpc=gateway.assignment.cluster.vpc,
        )
    )
