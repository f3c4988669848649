"""What pose estimators and sensors write, read: one file a format, and one line each in `table.py`."""
