"""An Envoy external processor that makes a service mesh accountable for its AI traffic."""
