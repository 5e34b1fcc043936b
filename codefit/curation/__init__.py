"""Curation: what stage 2 does to documents before pairs are built."""
