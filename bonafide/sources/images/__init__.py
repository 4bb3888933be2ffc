"""Images as people keep them: bytes or paths in a table, folders by class, CIFAR's archives."""
