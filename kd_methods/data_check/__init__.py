"""Does the data fit the config? All of it (:mod:`.page`), or what a quick look sees before a run
(:mod:`.quick`).
"""
