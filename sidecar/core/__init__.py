"""What the sidecar decides and reads: pure values in, pure values out."""
