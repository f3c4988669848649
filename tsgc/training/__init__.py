"""The run around the step: the loop, its folder, its batches, saving and going on."""
