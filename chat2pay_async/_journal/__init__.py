"""The write-ahead log: intents and results, on disk before anything leaves."""
