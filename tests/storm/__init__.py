"""The whole control plane under load, faults and kills, on real engines."""
