"""Run by Python at its start in the suite whose clock jumps: Envoy, which hangs with libfaketime, does without."""

import os
import sys

if sys.orig_argv[-2:] == ["gateway", "envoy"]:
    os.environ.pop("LD_PRELOAD", None)
