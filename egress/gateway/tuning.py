"""The kernel settings of a gateway, as published to customers in docs/adr/0006-gateway.md."""

FORWARD = "net/ipv4/ip_forward"
CONNTRACK_COUNT = "net/netfilter/nf_conntrack_count"
CONNTRACK_MAX = "net/netfilter/nf_conntrack_max"

#: Set after the ruleset (which loads conntrack) and before forwarding. Timeouts are in seconds. Sizes belong to the
#: machine: inside a network namespace, which a laboratory's gateway is, they can't be set.
CONNTRACK = {
    CONNTRACK_MAX: "262144",
    "net/netfilter/nf_conntrack_buckets": "65536",
    # A connection that is already going when the gateway comes back from a reboot is picked up where it is:
    # its port is most often still free, so that it lives on under the same address.
    "net/netfilter/nf_conntrack_tcp_loose": "1",
    "net/netfilter/nf_conntrack_tcp_timeout_syn_sent": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_established": "86400",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "120",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait": "60",
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "60",
    "net/netfilter/nf_conntrack_udp_timeout": "30",
    "net/netfilter/nf_conntrack_udp_timeout_stream": "180",
    "net/netfilter/nf_conntrack_icmp_timeout": "30",
    "net/netfilter/nf_conntrack_generic_timeout": "600",
}
#: Holds before the agent runs, too. Forwarding isn't here: only the agent switches it on, once its ruleset is in place.
SYSCTL_D = """\
# Sluicegate gateway. IPv4 forwarding is missing on purpose: the agent switches it on, after its ruleset.
-net.ipv6.conf.all.forwarding = 0
-net.ipv4.conf.all.send_redirects = 0
-net.ipv4.conf.default.send_redirects = 0
-net.ipv4.conf.all.accept_redirects = 0
-net.ipv4.conf.default.accept_redirects = 0
-net.ipv4.conf.all.accept_source_route = 0
"""
