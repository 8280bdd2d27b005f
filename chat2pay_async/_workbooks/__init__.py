"""Workbooks: Excel's and OpenDocument's sheets as rows of plain values."""
