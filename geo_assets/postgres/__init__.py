"""PostgreSQL itself: which server, the embedded one, logins, and what its errors mean.

Not here: tables (`geo_assets.ledger`, `geo_assets.catalogue`).
"""
