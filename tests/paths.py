"""Where the real data for tests lies, and how a test says that it needs it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("BERT_JAX_DATA", ROOT.parent / "shared" / "data"))

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no test data at {DATA}; set BERT_JAX_DATA")
