"""What Envoy reads of keys and certificates while it runs: files, made in a process for that alone."""
