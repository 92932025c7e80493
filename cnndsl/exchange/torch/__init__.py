"""torch modules, through torch.export and torch.compile."""
