"""The control plane's pure parts."""
