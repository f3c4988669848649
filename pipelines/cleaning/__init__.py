"""Raw bodies to clean ones: actors chosen, tracks linked, noise dropped, joints centred and aligned."""
