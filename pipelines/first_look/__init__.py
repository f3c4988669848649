"""`tsgc init`: a first `dataset.yaml` for recordings of one's own, from what lies there."""
