"""The lab where no namespace can be made: the same control plane, its agents at wire level, and no packets.

Nodes join, follow the routes, acknowledge and report; gateways enrol and report; what they would have done is
recorded, and nothing is steered. Whoever asks for packets is told that there are none.
"""

#: What agents report of themselves, and so what operators read beside each of them.
DETAIL = "simulated: recorded, nothing is steered"
