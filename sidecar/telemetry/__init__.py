"""Records, seen as traces, metrics and log lines; requests and answers as files."""
