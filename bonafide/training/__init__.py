"""The training loop around the engine: epochs, validation, the best epoch, several processes."""
