"""Where other packages' ways of working meet ours; each is imported only when it is used."""
