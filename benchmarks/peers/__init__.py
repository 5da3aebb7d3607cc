"""The code geo_assets is measured against: what one would write without it."""
