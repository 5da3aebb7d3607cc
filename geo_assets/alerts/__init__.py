"""What people are told, and by which way.

A new destination goes here. Not here: finding the troubles (`geo_assets.sensors.alerts`).
"""
