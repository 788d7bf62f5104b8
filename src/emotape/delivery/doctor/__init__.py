"""Whether everything is in order for emotape on this machine: facts are looked up, judged, and nothing is changed."""
