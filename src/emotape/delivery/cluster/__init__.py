"""The service on a Ray cluster: ingress, decoding and engine replicas under Ray Serve."""
