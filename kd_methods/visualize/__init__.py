"""Pictures of what networks see and predict, and of the data that they get."""
