"""One HTTP exchange, over connections that are never lost."""
