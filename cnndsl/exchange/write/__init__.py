"""From a model to the .cnn file that a person would have written."""
