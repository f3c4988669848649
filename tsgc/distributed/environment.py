"""Environment variables that ranks inherit. This file imports nothing: commands start fast."""

QUIET = "TSGC_QUIET"  # --quiet, set so that the ranks of --gpus are quiet too: no progress, no notes
LAUNCHED = "TSGC_LAUNCHED"  # set for the ranks that --gpus starts: their launcher speaks for them
