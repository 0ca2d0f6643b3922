# SPDX-License-Identifier: MIT
"""What a schema cannot say: which strings are pictures, and where webhooks may go."""
import base64
import sys
from pathlib import Path

import schemathesis
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))
from pictures import png  # noqa: E402

PICTURES = st.sampled_from([png(), png(65, 100), png(300, 64)])

schemathesis.openapi.format("picture", PICTURES.map(lambda p: base64.b64encode(p).decode()))
# an address, not a name: the check asks no name server
schemathesis.openapi.format("webhook-url", st.sampled_from(
    ["https://93.184.215.14/hook", "http://93.184.215.14:8080/?a=b"]))


@schemathesis.hook
def before_call(context, case, kwargs):
    """The page after a task that does not exist is an error, whatever its id looks like."""
    if (case.query and case.operation.path.startswith("/v1/ai/") and case.meta
            and case.meta.generation.mode.is_positive):
        case.query = {name: value for name, value in case.query.items() if name != "after"}
