"""How values are written out; Django's own formats of a language would come before the settings."""
