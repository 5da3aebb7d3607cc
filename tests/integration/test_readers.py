"""What others make of our items: validators and readers of the field, on real items, without a warning or a network.

Here: acceptance of catalogued items by stac-validator, pystac, pystac-client, odc-stac and rio-tiler (titiler's reader).
Not here: whether the facts in them are right (`tests.unit.core`).
"""

import json
import shutil
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import odc.stac
import pystac
import pystac.validation
import pystac_client
import pytest
import rasterio
from pystac.validation.local_validator import LocalValidator
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from rasterio.transform import Affine, from_origin
from rio_tiler.io import STACReader
from stac_validator.validate import StacValidate

from tests.pipeline import SOURCE, Pipeline, open_pipeline
from tests.rasters import write_raster
from tests.unit.core import schemas

pytestmark = pytest.mark.filterwarnings("error")

Item = dict[str, Any]
