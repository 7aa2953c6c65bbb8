"""What can go wrong between the data plane and the kernel."""


class DataplaneError(Exception):
    """The node's kernel can't hold what is wanted; the message says what stands in the way and what to do."""

    code = "dataplane_failed"
