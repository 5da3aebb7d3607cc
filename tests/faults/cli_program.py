"""`geo-assets` as a module, so that it can be run as one: `python -m tests.faults.cli_program ARGUMENTS...`."""

from geo_assets.cli.main import main

if __name__ == "__main__":
    main()
