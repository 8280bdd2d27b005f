"""CSV, JSON lines and workbooks as checked requests."""
