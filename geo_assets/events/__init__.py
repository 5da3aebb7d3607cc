"""Blob events: messages, queues, looking at what they name, settlement, and dead letters.

A new kind of queue goes here. Not here: when to receive (`geo_assets.sensors`).
"""
