"""What was seen (:mod:`.observation`), and where training finds it (:mod:`.sources`)."""
