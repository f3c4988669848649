"""`python -m tsgc` is the `tsgc` command; torchrun starts ranks this way."""

from cli import app

app()
