"""A DigitalOcean-compatible API: `app` is HTTP, `state` the model, `work` drives the hypervisor, `faults` misbehave."""
