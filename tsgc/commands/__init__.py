"""The commands, as functions whose signatures Typer reads; `cli.py` puts them together."""
