"""One call: attempts, retries, look-ups."""
