"""The tables of the schema `ledger`: one row per blob, and what goes with it; its views, roles and backup.

A new reason, state or statement of SQL goes here. Not here: deciding anything.
"""
