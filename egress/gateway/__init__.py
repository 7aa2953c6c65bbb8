"""The gateway: a VM that forwards one app's packets under its own public address.

`userdata` builds what a stock Ubuntu image needs to become one; the rest is the agent that it carries. Standard
library only, and nothing is downloaded at boot.
"""
