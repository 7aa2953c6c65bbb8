"""Where gateway VMs come from: `base` is the port, `digitalocean` the adapter."""
