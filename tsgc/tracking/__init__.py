"""Trackers: where a run's figures go beside its own files, one file a tracker."""
