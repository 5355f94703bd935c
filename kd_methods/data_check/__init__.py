"""Whether the data fits the config: :mod:`.page` reads all of it, :func:`.look.check_datasets` a little."""
