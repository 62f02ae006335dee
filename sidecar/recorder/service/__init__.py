"""The Recorder service, which stores for others: the public contract, its two sides, and what lies between."""
