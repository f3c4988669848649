"""One optimiser step: micro-batches, loss, optimiser, averaged weights, CUDA graphs, teachers."""
