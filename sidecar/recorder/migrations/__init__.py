"""How the tables came to be, one revision a file. Run by `sidecar.recorder.journal.migration`."""
